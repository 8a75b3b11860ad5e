package com.example.lcnn

import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.junit.Assert.assertEquals
import org.junit.Test

class PreprocessingTest {
    @Test
    fun photosBecomeTheExpectedTensors() {
        for (case in Vectors.array("photos")) {
            val name = case.getString("name")
            val tensor = case.getJSONObject("tensor").tensorSpec()
            val expected = case.getJSONArray("expected").doubles()
            val pixels = case.getJSONArray("pixels").strings().joinToString(" ").split(" ")
            val photo =
                Photo(
                    IntArray(pixels.size) { pixels[it].toLong(16).toInt() },
                    case.getInt("width"),
                    case.getInt("height"),
                )
            val buffer = toInput(photo, case.getJSONObject("input").inputSpec(), tensor)
            assertEquals(name, expected.size * tensor.type.bytes, buffer.remaining())
            for (value in expected) {
                when (tensor.type) {
                    TensorType.FLOAT32 -> assertEquals(name, value, buffer.getFloat().toDouble(), 1e-4)
                    TensorType.INT8 -> assertEquals(name, value.toInt(), buffer.get().toInt())
                    TensorType.UINT8 -> assertEquals(name, value.toInt(), buffer.get().toInt() and 255)
                }
            }
        }
    }

    @Test
    fun outputsBecomeTheExpectedProbabilities() {
        for (case in Vectors.array("outputs")) {
            val name = case.getString("name")
            val tensor = case.getJSONObject("tensor").tensorSpec()
            val values = case.getJSONArray("values").doubles()
            val buffer =
                ByteBuffer.allocateDirect(values.size * tensor.type.bytes)
                    .order(ByteOrder.nativeOrder())
            for (value in values) {
                if (tensor.type == TensorType.FLOAT32) buffer.putFloat(value.toFloat())
                else buffer.put(value.toInt().toByte())
            }
            val logits = fromOutput(buffer, values.size, tensor)
            val found = softmax(logits)
            case.getJSONArray("logits").doubles().zip(logits.toList()) { expected, value ->
                assertEquals(name, expected, value.toDouble(), 1e-4)
            }
            case.getJSONArray("probabilities").doubles().zip(found.toList()) { expected, value ->
                assertEquals(name, expected, value.toDouble(), 1e-5)
            }
            assertEquals(name, case.getJSONArray("top").ints(), largest(found, 3))
        }
    }

    @Test
    fun medianIsTheMiddleOrBetweenTheTwoInTheMiddle() {
        assertEquals(2.0, median(listOf(9.0, 1.0, 2.0)), 0.0)
        assertEquals(1.5, median(listOf(9.0, 1.0, 2.0, 0.0)), 0.0)
    }
}
