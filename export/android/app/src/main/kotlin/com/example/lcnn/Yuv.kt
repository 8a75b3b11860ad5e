package com.example.lcnn

import java.nio.ByteBuffer

/**
 * One plane of a camera's frame.
 *
 * @property rowStride bytes from a row to the next; [pixelStride] from a pixel to the next. The
 *   last row may end with its last pixel.
 */
class Plane(val bytes: ByteBuffer, val rowStride: Int, val pixelStride: Int)

/**
 * A frame as cameras give it (YUV 4:2:0, the full range of JPEG) as red, green and blue.
 *
 * @param planes luma, blue and red difference; the latter two are half as wide and high.
 * @param left columns, and [top] rows, that are left out before the [width] x [height] of the
 *   photo, which is not yet turned.
 * @param turn degrees clockwise that bring the frame upright: 0, 90, 180 or 270.
 */
fun toPhoto(planes: List<Plane>, left: Int, top: Int, width: Int, height: Int, turn: Int): Photo {
    // Reading an array is much faster than reading a buffer that the camera owns.
    val (luma, blue, red) = planes.map(::copy)
    val (across, along) = if (turn % 180 == 0) Pair(width, height) else Pair(height, width)
    // Where the frame's first pixel goes, and how far a step to the right, or down, leads there.
    val (start, right, down) =
        when (turn) {
            0 -> Triple(0, 1, across)
            90 -> Triple(across - 1, across, -1)
            180 -> Triple(across * along - 1, -1, -across)
            270 -> Triple(across * (along - 1), -across, 1)
            else -> throw IllegalArgumentException("a turn of $turn degrees")
        }
    val pixels = IntArray(width * height)
    for (row in 0 until height) {
        var to = start + row * down
        for (column in 0 until width) {
            val y = planes[0].at(luma, left + column, top + row) shl SHIFT
            val u = planes[1].at(blue, (left + column) / 2, (top + row) / 2) - 128
            val v = planes[2].at(red, (left + column) / 2, (top + row) / 2) - 128
            pixels[to] =
                OPAQUE or
                    (channel(y + RED_V * v) shl 16) or
                    (channel(y - GREEN_U * u - GREEN_V * v) shl 8) or
                    channel(y + BLUE_U * u)
            to += right
        }
    }
    return Photo(pixels, across, along)
}

/**
 * Degrees clockwise that bring a camera's frame upright on the screen.
 *
 * @param sensor how far the camera's picture is turned on the phone, [display] the phone's screen
 *   from its usual way up, both in degrees.
 */
fun uprightTurn(sensor: Int, display: Int, facesUser: Boolean): Int =
    Math.floorMod(if (facesUser) sensor + display else sensor - display, 360)

/**
 * The smallest of [sizes], width and height, whose short side has [needed] pixels; the largest if
 * there is none.
 */
fun frameSize(sizes: List<Pair<Int, Int>>, needed: Int): Pair<Int, Int> {
    fun pixels(size: Pair<Int, Int>) = size.first.toLong() * size.second
    return sizes.filter { minOf(it.first, it.second) >= needed }.minByOrNull(::pixels)
        ?: sizes.maxBy(::pixels)
}

private fun copy(plane: Plane): ByteArray =
    plane.bytes.duplicate().run {
        rewind()
        ByteArray(remaining()).also(::get)
    }

private fun Plane.at(bytes: ByteArray, x: Int, y: Int): Int =
    bytes[y * rowStride + x * pixelStride].toInt() and 255

private fun channel(fixed: Int): Int = ((fixed + HALF) shr SHIFT).coerceIn(0, 255)

// BT.601 in full range, as JPEG has it, in fixed point: 1.402, 0.344136, 0.714136 and 1.772.
private const val SHIFT = 20
private const val HALF = 1 shl SHIFT - 1
private const val RED_V = 1470104
private const val GREEN_U = 360853
private const val GREEN_V = 748826
private const val BLUE_U = 1858077
private const val OPAQUE = 255 shl 24
