package com.example.lcnn

import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Test

class ClassifierTest {
    private val photo = Photo(IntArray(4) { 0x336699 + it }, 2, 2)
    private val spec = InputSpec(2, 2, 3, listOf(0.0, 0.0, 0.0), listOf(1.0, 1.0, 1.0), null)

    @Test
    fun labelsAndProbabilitiesAreThoseOfTheFile() {
        val classifier = Classifier(Metadata(listOf("a", "b", "c"), spec), FakeEngine())
        val predictions = classifier.classify(photo).predictions
        assertEquals(listOf("b", "c", "a"), predictions.map { it.label })
        // e^2, e and 1, over their sum.
        for ((expected, found) in listOf(0.66524f, 0.24473f, 0.09003f).zip(predictions)) {
            assertEquals(expected, found.probability!!, 1e-5f)
        }
    }

    @Test
    fun filesWithoutMetadataGiveNumbersAndTakePixelsFromZeroToOne() {
        val engine = FakeEngine()
        val predictions = Classifier(Metadata(), engine).classify(photo).predictions
        assertEquals(listOf("class 1", "class 2", "class 0"), predictions.map { it.label })
        assertEquals(listOf(null, null, null), predictions.map { it.probability })
        val input = ByteBuffer.wrap(engine.seen.last()).order(ByteOrder.nativeOrder())
        assertArrayEquals(
            floatArrayOf(0.2f, 0.4f, 0.6f),
            FloatArray(3) { input.getFloat() },
            1e-6f,
        )
    }

    @Test
    fun quantizedTensorsStandForRealValues() {
        val int8 = TensorSpec(TensorType.INT8, 0.5f, -1)
        val uint8 = TensorSpec(TensorType.UINT8, 2f, 100)
        val engine =
            FakeEngine(
                listOf(Tensor(listOf(1, 1, 1, 1), uint8)),
                listOf(Tensor(listOf(1, 2), int8)),
            ) {
                put(1)
                put(-1)
            }
        val grey = InputSpec(1, 1, 1, listOf(10.0), listOf(1.0), null)
        val classifier = Classifier(Metadata(listOf("yes", "no"), grey), engine)
        val predictions = classifier.classify(Photo(intArrayOf(0x323232), 1, 1)).predictions
        // (50 - 10) / 2 + 100
        assertArrayEquals(byteArrayOf(120), engine.seen.last())
        // Logits 1 and 0.
        assertEquals("yes", predictions.first().label)
        assertEquals(0.731059f, predictions.first().probability!!, 1e-6f)
    }

    @Test
    fun theFirstRunIsNotTimed() {
        val milliseconds = ArrayDeque(listOf(0.0, 90.0, 100.0, 103.5, 110.0, 112.0))
        val clock = { (milliseconds.removeFirst() * 1e6).toLong() }
        val classifier = Classifier(Metadata(), FakeEngine(), clock)
        assertEquals(3.5, classifier.classify(photo).milliseconds, 1e-9)
        assertEquals(2.0, classifier.classify(photo).milliseconds, 1e-9)
    }

    @Test
    fun modelsThatAreNoClassifiersOfImagesAreRefused() {
        fun refused(engine: Engine, metadata: Metadata = Metadata()) =
            assertThrows(ModelException::class.java) { Classifier(metadata, engine) }.message

        fun tensors(vararg shape: Int) = listOf(Tensor(shape.toList(), FakeEngine.FLOAT))

        val image = "an image [1, height, width, 1 or 3 channels]."
        assertEquals("its input is [1, 10], not $image", refused(FakeEngine(tensors(1, 10))))
        assertEquals(
            "its input is [1, 8, 8, 4], not $image",
            refused(FakeEngine(tensors(1, 8, 8, 4))),
        )
        assertEquals(
            "its input is [4, 8, 8, 3], not $image",
            refused(FakeEngine(tensors(4, 8, 8, 3))),
        )
        assertEquals(
            "it has 2 inputs and 1 outputs; one of each works.",
            refused(FakeEngine(tensors(1, 8, 8, 3) + tensors(1))),
        )
        assertEquals(
            "its output is [1, 8, 8, 3], not one value per class [1, classes].",
            refused(FakeEngine(outputs = tensors(1, 8, 8, 3))),
        )
        assertEquals(
            "it has 3 outputs and 2 labels.",
            refused(FakeEngine(), Metadata(listOf("a", "b"), spec)),
        )
        assertEquals(
            "its input is [1, 2, 2, 3], its metadata says [1, 4, 2, 3].",
            refused(FakeEngine(), Metadata(null, spec.copy(height = 4))),
        )
    }
}
