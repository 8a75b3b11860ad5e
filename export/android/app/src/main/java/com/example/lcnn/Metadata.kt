package com.example.lcnn

import java.io.File
import java.io.IOException
import java.util.zip.ZipFile
import org.json.JSONArray
import org.json.JSONException
import org.json.JSONObject

/** The file has no metadata that this app understands. */
class MetadataException(message: String, cause: Throwable? = null) : Exception(message, cause)

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

/** What an exported .tflite says of itself, in the ZIP archive appended to it. */
data class Metadata(val name: String, val labels: List<String>, val input: InputSpec) {

    companion object {
        private const val FORMAT = 1

        /** @throws MetadataException if there is no archive, or not what it should hold. */
        fun read(file: File): Metadata =
            try {
                ZipFile(file).use { parse(it.text("labels.txt"), it.text("tf_lcnn.json")) }
            } catch (error: IOException) {
                throw MetadataException("${file.name} holds no metadata: ${error.message}", error)
            } catch (error: JSONException) {
                throw MetadataException("tf_lcnn.json is damaged: ${error.message}", error)
            }

        private fun ZipFile.text(member: String): String {
            val entry = getEntry(member) ?: throw MetadataException("$member is missing.")
            return getInputStream(entry).use { it.readBytes().toString(Charsets.UTF_8) }
        }

        private fun parse(labels: String, json: String): Metadata {
            val root = JSONObject(json)
            val format = root.getInt("format")
            expect(format == FORMAT) { "metadata of format $format; this app reads $FORMAT" }
            val output = root.getString("output")
            expect(output == "logits") { "output $output; this app reads logits" }
            return Metadata(root.getString("name"), lines(labels), input(root.getJSONObject("input")))
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
            if (!holds) throw MetadataException("The model file has ${found()}.")
        }
    }
}
