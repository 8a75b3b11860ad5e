package com.example.lcnn

import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Test

class PreprocessingTest {
    @Test
    fun photosBecomeTheExpectedTensors() {
        for (case in Vectors.array("photos")) {
            val name = case.getString("name")
            val tensor = case.getJSONObject("tensor").tensorSpec()
            val expected = case.getJSONArray("expected").doubles()
            val pixels = case.getJSONArray("pixels").pixels()
            val photo = Photo(pixels, case.getInt("width"), case.getInt("height"))
            val buffer = toInput(photo, case.getJSONObject("input").inputSpec(), tensor)
            assertEquals(name, expected.size * tensor.type.bytes, buffer.remaining())
            for (value in expected) {
                val found =
                    when (tensor.type) {
                        TensorType.FLOAT32 -> buffer.getFloat().toDouble()
                        TensorType.INT8 -> buffer.get().toDouble()
                        TensorType.UINT8 -> (buffer.get().toInt() and 255).toDouble()
                    }
                val tolerance = if (tensor.type == TensorType.FLOAT32) 1e-4 else 0.0
                assertEquals(name, value, found, tolerance)
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
    fun numbersThatTheAppDoesNotKnowAreRefused() {
        val error = assertThrows(ModelException::class.java) { TensorType.of("INT64") }
        assertEquals("it has a tensor of INT64; FLOAT32, INT8 and UINT8 work.", error.message)
    }
}
