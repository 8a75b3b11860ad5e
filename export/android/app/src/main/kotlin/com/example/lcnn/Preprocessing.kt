package com.example.lcnn

import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.exp
import kotlin.math.floor
import kotlin.math.roundToLong

/** Pixels row by row, each 0xAARRGGBB as Android's bitmaps give them; alpha is ignored. */
class Photo(val pixels: IntArray, val width: Int, val height: Int)

enum class TensorType(val bytes: Int) {
    FLOAT32(4),
    INT8(1),
    UINT8(1);

    companion object {
        /** @throws ModelException if this app has no numbers of that type. */
        fun of(name: String): TensorType =
            values().find { it.name == name }
                ?: throw ModelException("it has a tensor of $name; FLOAT32, INT8 and UINT8 work.")
    }
}

/** A tensor's values; quantized ones stand for scale * (value - zeroPoint). */
class TensorSpec(val type: TensorType, val scale: Float = 0f, val zeroPoint: Int = 0)

/** The photo resized, cropped centrally, normalized and, where the model wants it, quantized. */
fun toInput(photo: Photo, input: InputSpec, tensor: TensorSpec): ByteBuffer {
    val (height, width) = resizedSize(photo.height, photo.width, input)
    val rows = taps(photo.height, height, (height - input.height) / 2, input.height)
    val columns = taps(photo.width, width, (width - input.width) / 2, input.width)

    val top = rows.first().first
    val bottom = rows.last().run { first + weights.size }
    val across = FloatArray((bottom - top) * input.width * 3)
    var at = 0
    for (y in top until bottom) {
        for (tap in columns) {
            var red = 0.0
            var green = 0.0
            var blue = 0.0
            val from = y * photo.width + tap.first
            for (j in tap.weights.indices) {
                val pixel = photo.pixels[from + j]
                val weight = tap.weights[j]
                red += weight * (pixel shr 16 and 255)
                green += weight * (pixel shr 8 and 255)
                blue += weight * (pixel and 255)
            }
            across[at++] = red.toFloat()
            across[at++] = green.toFloat()
            across[at++] = blue.toFloat()
        }
    }

    val size = input.height * input.width * input.channels * tensor.type.bytes
    val buffer = ByteBuffer.allocateDirect(size).order(ByteOrder.nativeOrder())
    for (tap in rows) {
        for (x in 0 until input.width) {
            var red = 0.0
            var green = 0.0
            var blue = 0.0
            for (j in tap.weights.indices) {
                val from = ((tap.first - top + j) * input.width + x) * 3
                val weight = tap.weights[j]
                red += weight * across[from]
                green += weight * across[from + 1]
                blue += weight * across[from + 2]
            }
            if (input.channels == 1) {
                buffer.put(0.299 * red + 0.587 * green + 0.114 * blue, 0, input, tensor)
            } else {
                buffer.put(red, 0, input, tensor)
                buffer.put(green, 1, input, tensor)
                buffer.put(blue, 2, input, tensor)
            }
        }
    }
    buffer.rewind()
    return buffer
}

/** Height and width of the whole photo after resizing, before the crop. */
internal fun resizedSize(height: Int, width: Int, input: InputSpec): Pair<Int, Int> {
    val target = input.shortSide ?: return Pair(input.height, input.width)
    val short = minOf(height, width).toLong()
    fun scaled(side: Int) = ((2 * side * target.toLong() + short) / (2 * short)).toInt()
    return Pair(scaled(height), scaled(width))
}

/** One output value of an axis: the sum of weights[j] * source[first + j]. */
private class Taps(val first: Int, val weights: DoubleArray)

// When shrinking, the triangle is as wide as the shrinking asks for: this is what training does
// (tf.image.resize with antialias). Android's own scaling skips pixels instead.
private fun taps(source: Int, resized: Int, from: Int, count: Int): List<Taps> {
    val scale = source.toDouble() / resized
    val reach = maxOf(scale, 1.0)
    return List(count) { i ->
        val center = (from + i + 0.5) * scale
        val first = maxOf(ceil(center - reach - 0.5).toInt(), 0)
        val last = minOf(floor(center + reach - 0.5).toInt(), source - 1)
        val weights = DoubleArray(last - first + 1) { 1 - abs(first + it + 0.5 - center) / reach }
        val sum = weights.sum()
        Taps(first, DoubleArray(weights.size) { weights[it] / sum })
    }
}

private fun ByteBuffer.put(pixel: Double, channel: Int, input: InputSpec, tensor: TensorSpec) {
    val real = (pixel - input.mean[channel]) / input.std[channel]
    when (tensor.type) {
        TensorType.FLOAT32 -> putFloat(real.toFloat())
        TensorType.INT8 -> put(quantized(real, tensor).coerceIn(-128, 127).toByte())
        TensorType.UINT8 -> put(quantized(real, tensor).coerceIn(0, 255).toByte())
    }
}

private fun quantized(real: Double, tensor: TensorSpec): Long =
    (real / tensor.scale + tensor.zeroPoint).roundToLong()

/** The real values of an output tensor, from the buffer's start. */
fun fromOutput(buffer: ByteBuffer, count: Int, tensor: TensorSpec): FloatArray {
    buffer.rewind()
    return FloatArray(count) {
        when (tensor.type) {
            TensorType.FLOAT32 -> buffer.getFloat()
            TensorType.INT8 -> tensor.scale * (buffer.get().toInt() - tensor.zeroPoint)
            TensorType.UINT8 -> tensor.scale * ((buffer.get().toInt() and 255) - tensor.zeroPoint)
        }
    }
}

fun softmax(logits: FloatArray): FloatArray {
    // The largest logit is subtracted, or exp overflows.
    val largest = logits.max()
    val exponentials = DoubleArray(logits.size) { exp((logits[it] - largest).toDouble()) }
    val sum = exponentials.sum()
    return FloatArray(logits.size) { (exponentials[it] / sum).toFloat() }
}

/** Indices of the largest values, largest first; of equal ones the first. */
fun largest(values: FloatArray, count: Int): List<Int> =
    values.indices.sortedByDescending { values[it] }.take(count)
