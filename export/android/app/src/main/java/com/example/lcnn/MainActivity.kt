package com.example.lcnn

import android.graphics.Bitmap
import android.graphics.ImageDecoder
import android.net.Uri
import android.os.Bundle
import android.widget.Button
import android.widget.ImageView
import android.widget.TextView
import androidx.activity.ComponentActivity
import androidx.activity.result.PickVisualMediaRequest
import androidx.activity.result.contract.ActivityResultContracts.PickVisualMedia
import java.io.File
import java.io.FileNotFoundException
import java.util.concurrent.Executors

class MainActivity : ComponentActivity() {
    private val worker = Executors.newSingleThreadExecutor()

    // Used on the worker only: an interpreter is for one thread at a time.
    private var classifier: Classifier? = null

    private val picker =
        registerForActivityResult(PickVisualMedia()) { uri -> if (uri != null) show(uri) }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_main)
        findViewById<Button>(R.id.pick).setOnClickListener {
            picker.launch(PickVisualMediaRequest(PickVisualMedia.ImageOnly))
        }
    }

    override fun onDestroy() {
        worker.execute { classifier?.close() }
        worker.shutdown()
        super.onDestroy()
    }

    private fun show(uri: Uri) {
        findViewById<TextView>(R.id.result).setText(R.string.working)
        worker.execute {
            var bitmap: Bitmap? = null
            val text =
                try {
                    val ready = classifier ?: Classifier(modelFile()).also { classifier = it }
                    bitmap = decode(uri, ready.metadata.input)
                    describe(ready.classify(bitmap.toPhoto()))
                } catch (error: NoModel) {
                    getString(R.string.no_model)
                } catch (error: Exception) {
                    getString(R.string.failed, error.message ?: error.toString())
                }
            runOnUiThread {
                findViewById<ImageView>(R.id.photo).setImageBitmap(bitmap)
                findViewById<TextView>(R.id.result).text = text
            }
        }
    }

    private class NoModel : Exception()

    // Both the interpreter and ZipFile want a file, which an asset is not. An update of the app
    // may bring another model.
    private fun modelFile(): File {
        val file = File(filesDir, MODEL)
        val updated = packageManager.getPackageInfo(packageName, 0).lastUpdateTime
        if (file.lastModified() < updated) {
            val part = File(filesDir, "$MODEL.part")
            try {
                assets.open(MODEL).use { from -> part.outputStream().use { from.copyTo(it) } }
            } catch (error: FileNotFoundException) {
                throw NoModel()
            }
            check(part.renameTo(file)) { "cannot write $file" }
        }
        return file
    }

    private fun decode(uri: Uri, input: InputSpec): Bitmap {
        val needed = input.shortSide ?: maxOf(input.height, input.width)
        val source = ImageDecoder.createSource(contentResolver, uri)
        return ImageDecoder.decodeBitmap(source) { decoder, info, _ ->
            decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE
            // Photos of 50 megapixels and more do not fit into memory; four times the length that
            // is needed leaves the resizing almost as it is.
            val short = minOf(info.size.width, info.size.height)
            decoder.setTargetSampleSize(maxOf(short / (4 * needed), 1))
        }
    }

    private fun Bitmap.toPhoto(): Photo {
        val pixels = IntArray(width * height)
        getPixels(pixels, 0, width, 0, 0, width, height)
        return Photo(pixels, width, height)
    }

    private fun describe(result: Result): String {
        val lines =
            result.predictions.map { getString(R.string.prediction, it.label, 100 * it.probability) }
        val time = getString(R.string.time, result.milliseconds, Classifier.RUNS)
        return (lines + "" + time).joinToString("\n")
    }

    private companion object {
        const val MODEL = "model.tflite"
    }
}
