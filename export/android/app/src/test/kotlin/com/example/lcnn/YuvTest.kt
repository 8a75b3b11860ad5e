package com.example.lcnn

import java.nio.ByteBuffer
import org.json.JSONObject
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Test

class YuvTest {
    private fun plane(json: JSONObject): Plane {
        val hex = json.getString("hex")
        val bytes = hex.chunked(2).map { it.toInt(16).toByte() }.toByteArray()
        val buffer = ByteBuffer.allocateDirect(bytes.size).put(bytes)
        return Plane(buffer, json.getInt("row_stride"), json.getInt("pixel_stride"))
    }

    @Test
    fun framesBecomeTheExpectedPhotos() {
        for (case in Vectors.array("frames")) {
            val planes = case.getJSONArray("planes")
            val (left, top, width, height) = case.getJSONArray("crop").ints()
            val turn = case.getInt("turn")
            val frame = List(planes.length()) { plane(planes.getJSONObject(it)) }
            val photo = toPhoto(frame, left, top, width, height, turn)
            val name = case.getString("name")
            val expected = case.getJSONArray("expected")
            val size = if (turn % 180 == 0) Pair(width, height) else Pair(height, width)
            assertEquals(name, size, Pair(photo.width, photo.height))
            assertEquals(name, expected.length(), photo.height)
            assertArrayEquals(name, expected.pixels(), photo.pixels)
        }
    }

    @Test
    fun framesAreTurnedUpright() {
        // Most phones: the sensor lies a quarter turn from the screen.
        assertEquals(90, uprightTurn(sensor = 90, display = 0, facesUser = false))
        assertEquals(0, uprightTurn(sensor = 90, display = 90, facesUser = false))
        assertEquals(180, uprightTurn(sensor = 90, display = 270, facesUser = false))
        assertEquals(270, uprightTurn(sensor = 0, display = 90, facesUser = false))
        assertEquals(270, uprightTurn(sensor = 270, display = 0, facesUser = true))
        assertEquals(0, uprightTurn(sensor = 270, display = 90, facesUser = true))
    }

    @Test
    fun framesAreAsSmallAsTheModelsAllow() {
        val sizes = listOf(Pair(1920, 1080), Pair(640, 480), Pair(320, 240), Pair(1280, 720))
        assertEquals(Pair(640, 480), frameSize(sizes, 256))
        assertEquals(Pair(640, 480), frameSize(sizes, 480))
        assertEquals(Pair(1280, 720), frameSize(sizes, 481))
        assertEquals(Pair(1920, 1080), frameSize(sizes, 2000))
    }
}
