package com.example.lcnn

import android.content.Context
import java.io.File
import java.io.FileNotFoundException
import java.io.InputStream

/** The models that were built into the app, as files: neither LiteRT nor ZipFile reads an asset. */
class Models(
    private val context: Context,
    private val asset: (String) -> InputStream,
    private val engine: (File) -> Engine,
) {

    /** @throws ModelException if there is no such asset, or it is no classifier of images. */
    fun open(name: String): Classifier {
        val file = file(name)
        checkTflite(file)
        val metadata = Metadata.read(file)
        val engine = engine(file)
        return try {
            Classifier(metadata, engine)
        } catch (error: ModelException) {
            engine.close()
            throw error
        }
    }

    // An update of the app may bring another model.
    private fun file(name: String): File {
        val file = File(context.filesDir, name)
        val updated = context.packageManager.getPackageInfo(context.packageName, 0).lastUpdateTime
        if (file.lastModified() <= updated) {
            val part = File(context.filesDir, "$name.part")
            try {
                asset(name).use { from ->
                    part.outputStream().use { from.copyTo(it) }
                }
            } catch (error: FileNotFoundException) {
                throw ModelException("not in this app: put it into app/src/main/assets.", error)
            }
            check(part.renameTo(file)) { "cannot write $file" }
        }
        return file
    }
}
