package com.example.lcnn

import android.Manifest
import android.app.Activity
import android.content.ActivityNotFoundException
import android.content.Intent
import android.content.pm.PackageManager
import android.graphics.ImageDecoder
import android.hardware.camera2.CameraManager
import android.hardware.display.DisplayManager
import android.net.Uri
import android.os.Bundle
import android.os.Handler
import android.os.HandlerThread
import android.view.Display.DEFAULT_DISPLAY
import android.view.Surface
import java.io.File
import java.io.InputStream
import java.util.Locale

/** The models of [MODELS] on a photo, or on what the camera sees, beside each other. */
open class MainActivity : Activity() {
    // Models and camera are used on this thread only: an interpreter is for one at a time.
    internal val worker = HandlerThread("models")
    private lateinit var handler: Handler
    private lateinit var screen: Screen
    private lateinit var comparison: Comparison
    private var frames = RunningMedian(Comparison.LAST)

    // Of the worker.
    internal var camera: Camera? = null

    // Whether the camera is wanted, also while the app is not seen.
    private var live = false

    /** What runs a model; tests have no LiteRT. */
    internal open fun engine(file: File): Engine = LiteRt(file)

    internal open fun asset(name: String): InputStream = assets.open(name)

    /** Where a picked photo is; Robolectric decodes none of a file. */
    internal open fun source(uri: Uri): ImageDecoder.Source =
        ImageDecoder.createSource(contentResolver, uri)

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        screen = Screen(this, MODELS.size)
        setContentView(screen.root)
        screen.pick.setOnClickListener { pick() }
        screen.camera.setOnClickListener { if (live) stop() else start() }
        worker.start()
        handler = Handler(worker.looper)
        handler.post {
            val models = Models(this, ::asset, ::engine)
            comparison = Comparison(MODELS.map { name -> Pair(name) { models.open(name) } })
            val rows = comparison.rows()
            runOnUiThread { screen.show(rows) }
        }
    }

    override fun onStart() {
        super.onStart()
        if (live) start()
    }

    override fun onStop() {
        handler.post(::closeCamera)
        super.onStop()
    }

    override fun onDestroy() {
        handler.post { comparison.close() }
        worker.quitSafely()
        super.onDestroy()
    }

    private fun pick() {
        stop()
        try {
            startActivityForResult(photoPicker(), PHOTO)
        } catch (error: ActivityNotFoundException) {
            say("There is no app that picks photos.")
        }
    }

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        val uri = data?.data
        if (requestCode == PHOTO && resultCode == RESULT_OK && uri != null) classify(uri)
    }

    private fun classify(uri: Uri) {
        say("Classifying…")
        handler.post {
            val needed = comparison.needed ?: return@post say(NO_MODEL)
            val photo =
                try {
                    decode(source(uri), needed)
                } catch (error: Exception) {
                    return@post say("This photo does not open: ${line(error)}")
                }
            repeat(Comparison.LAST - 1) { comparison.look(photo) }
            show(photo, comparison.look(photo), "Median of ${Comparison.LAST} runs")
        }
    }

    private fun start() {
        live = true
        screen.live(true)
        if (checkSelfPermission(Manifest.permission.CAMERA) != PackageManager.PERMISSION_GRANTED) {
            return requestPermissions(arrayOf(Manifest.permission.CAMERA), CAMERA)
        }
        val screens = getSystemService(DisplayManager::class.java)
        val display =
            when (screens.getDisplay(DEFAULT_DISPLAY).rotation) {
                Surface.ROTATION_90 -> 90
                Surface.ROTATION_180 -> 180
                Surface.ROTATION_270 -> 270
                else -> 0
            }
        handler.post { openCamera(display) }
    }

    override fun onRequestPermissionsResult(
        requestCode: Int,
        permissions: Array<String>,
        grantResults: IntArray,
    ) {
        if (requestCode != CAMERA || !live) return
        if (grantResults.firstOrNull() == PackageManager.PERMISSION_GRANTED) return start()
        stop()
        say("Without the permission there is no camera; photos can be picked.")
    }

    private fun stop() {
        live = false
        screen.live(false)
        handler.post(::closeCamera)
    }

    private fun openCamera(display: Int) {
        val needed = comparison.needed ?: return end(NO_MODEL)
        closeCamera()
        frames = RunningMedian(Comparison.LAST)
        camera =
            Camera(getSystemService(CameraManager::class.java), handler, ::look, ::end).also {
                it.open(needed, display)
            }
    }

    private fun closeCamera() {
        camera?.close()
        camera = null
    }

    private fun look(photo: Photo) {
        val start = System.nanoTime()
        val rows = comparison.look(photo)
        frames.add((System.nanoTime() - start) / 1e6)
        val whole = String.format(Locale.ROOT, "%.1f", frames.median())
        show(photo, rows, "Frame: $whole ms with preparing; median of ${Comparison.LAST}")
    }

    /** The camera is off, and says why. */
    private fun end(problem: String) {
        runOnUiThread {
            live = false
            screen.live(false)
        }
        say(problem)
    }

    private fun show(photo: Photo, rows: List<Row>, text: String) {
        runOnUiThread {
            screen.show(photo)
            screen.show(rows)
        }
        val delegate = if (LcnnDelegate.available) "with" else "without"
        say("$text; ${LiteRt.THREADS} thread, $delegate the native delegate")
    }

    private fun say(text: String) = runOnUiThread { screen.line.text = text }

    internal companion object {
        /** Assets; the others are compared with the first. */
        val MODELS = listOf("dense.tflite", "lcnn.tflite")
        const val PHOTO = 1
        const val CAMERA = 2
        private const val NO_MODEL = "No model runs: see above."
    }
}
