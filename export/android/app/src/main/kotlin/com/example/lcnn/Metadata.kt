package com.example.lcnn

import java.io.File
import java.util.zip.ZipException
import java.util.zip.ZipFile
import org.json.JSONArray
import org.json.JSONException
import org.json.JSONObject

/** A model that this app cannot run; the message is one line that says why. */
class ModelException(message: String, cause: Throwable? = null) : Exception(message, cause)

/**
 * How a photo becomes the input of the model.
 *
 * @property mean per channel, of pixel values 0 to 255; [std] likewise.
 * @property shortSide length of the photo's short side before the central crop; null: the photo is
 *   resized straight to [height] x [width].
 */
data class InputSpec(
    val height: Int,
    val width: Int,
    val channels: Int,
    val mean: List<Double>,
    val std: List<Double>,
    val shortSide: Int?,
)

/**
 * What an exported .tflite says of itself, in the ZIP archive appended to it.
 *
 * @property labels null where the file has none.
 * @property input null where the file does not say how it wants its photos.
 */
data class Metadata(val labels: List<String>? = null, val input: InputSpec? = null) {

    companion object {
        private const val FORMAT = 1

        /** @throws ModelException if the archive does not hold what it should. */
        fun read(file: File): Metadata {
            val archive =
                try {
                    ZipFile(file)
                } catch (error: ZipException) {
                    return Metadata()
                }
            return try {
                archive.use {
                    val labels = it.text("labels.txt")?.let(::lines)
                    Metadata(labels, it.text("tf_lcnn.json")?.let(::parse))
                }
            } catch (error: ZipException) {
                throw ModelException("its metadata is damaged: ${error.message}", error)
            } catch (error: JSONException) {
                throw ModelException("its tf_lcnn.json is damaged: ${error.message}", error)
            }
        }

        private fun ZipFile.text(member: String): String? =
            getEntry(member)?.let { entry ->
                getInputStream(entry).use { it.readBytes().toString(Charsets.UTF_8) }
            }

        private fun parse(json: String): InputSpec {
            val root = JSONObject(json)
            val format = root.getInt("format")
            expect(format == FORMAT) { "metadata of format $format; this app reads $FORMAT" }
            expect(!root.has("frame")) {
                val frame = root.getJSONObject("frame")
                val (kind, height, width) = listOf("format", "height", "width").map(frame::get)
                "frames of $kind $height x $width as its input; this app prepares pixels itself: " +
                    "export it without --input"
            }
            val output = root.getString("output")
            expect(output == "logits") { "output $output; this app reads logits" }
            return input(root.getJSONObject("input"))
        }

        // Not lines(): a file that ends in a line break has no empty last class.
        private fun lines(text: String): List<String> =
            text.removeSuffix("\n").split("\n").map { it.removeSuffix("\r") }

        private fun input(json: JSONObject): InputSpec {
            val spec =
                InputSpec(
                    height = json.getInt("height"),
                    width = json.getInt("width"),
                    channels = json.getInt("channels"),
                    mean = json.getJSONArray("mean").doubles(),
                    std = json.getJSONArray("std").doubles(),
                    shortSide = if (json.isNull("short_side")) null else json.getInt("short_side"),
                )
            expect(spec.height > 0 && spec.width > 0) { "input ${spec.height} x ${spec.width}" }
            expect(spec.channels == 1 || spec.channels == 3) { "${spec.channels} channels" }
            expect(spec.mean.size == spec.channels && spec.std.size == spec.channels) {
                "${spec.channels} channels but ${spec.mean.size} means, ${spec.std.size} deviations"
            }
            expect(spec.std.all { it > 0 }) { "a standard deviation that is not positive" }
            expect(spec.shortSide == null || spec.shortSide >= maxOf(spec.height, spec.width)) {
                "a short side of ${spec.shortSide} for a crop of ${spec.height} x ${spec.width}"
            }
            return spec
        }

        private fun JSONArray.doubles(): List<Double> = List(length()) { getDouble(it) }

        private fun expect(holds: Boolean, found: () -> String) {
            if (!holds) throw ModelException("it has ${found()}.")
        }
    }
}

/** @throws ModelException if the file is no .tflite at all. */
fun checkTflite(file: File) {
    // FlatBuffers have the kind of the file after four bytes.
    val head = ByteArray(8)
    val read = file.inputStream().use { it.read(head) }
    if (read < head.size || String(head, 4, 4, Charsets.ISO_8859_1) != "TFL3") {
        throw ModelException("no .tflite file.")
    }
}
