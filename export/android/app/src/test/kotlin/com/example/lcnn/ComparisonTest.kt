package com.example.lcnn

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

class ComparisonTest {
    private val photo = Photo(IntArray(4), 2, 2)

    /** Runs take this many milliseconds one after the other, after the first, which takes none. */
    private fun classifier(vararg milliseconds: Int, engine: Engine = FakeEngine()): Classifier {
        val ticks = ArrayDeque(listOf(0L, 0L))
        for (time in milliseconds) ticks.addAll(listOf(0L, time * 1_000_000L))
        return Classifier(Metadata(listOf("a", "b", "c")), engine) { ticks.removeFirst() }
    }

    @Test
    fun ratiosAreOfMedians() {
        val comparison =
            Comparison(
                listOf("dense" to { classifier(8, 80, 9) }, "lcnn" to { classifier(4, 3, 100) })
            )
        assertEquals(listOf("dense", "lcnn"), comparison.rows().map { describe(it, "dense") })
        comparison.look(photo)
        comparison.look(photo)
        val (dense, lcnn) = comparison.look(photo)
        assertEquals("dense\n9.00 ms\nb\nc\na", describe(dense, "dense"))
        assertEquals("lcnn\n4.00 ms\n2.25 times as fast as dense\nb\nc\na", describe(lcnn, "dense"))
    }

    @Test
    fun probabilitiesAreShownInPercent() {
        val row = Row("a", listOf(Prediction("cat", 0.98765f)), 1.0, 1.0)
        assertEquals("a\n1.00 ms\ncat: 98.8 %", describe(row, "a"))
    }

    @Test
    fun oneThatDoesNotOpenLeavesTheOtherAlone() {
        val comparison =
            Comparison(
                listOf(
                    "dense" to { throw ModelException("no .tflite file.\nand more") },
                    "lcnn" to { classifier(4) },
                )
            )
        assertEquals("dense: no .tflite file.", describe(comparison.rows().first(), "dense"))
        val (dense, lcnn) = comparison.look(photo)
        assertEquals("dense: no .tflite file.", describe(dense, "dense"))
        assertEquals("lcnn\n4.00 ms\nb\nc\na", describe(lcnn, "dense"))
        assertEquals(2, comparison.needed)
    }

    @Test
    fun oneThatFailsSaysSo() {
        val engine = FakeEngine { throw IllegalStateException("out of luck\nat some line") }
        val comparison =
            Comparison(
                listOf("dense" to { classifier(4, engine = engine) }, "lcnn" to { classifier(4) })
            )
        val (dense, lcnn) = comparison.look(photo)
        assertEquals("dense: out of luck", describe(dense, "dense"))
        assertEquals(null, lcnn.ratio)
    }

    @Test
    fun withoutModelsNothingIsNeeded() {
        val comparison = Comparison(listOf("dense" to { throw ModelException("not in this app") }))
        assertEquals(null, comparison.needed)
    }

    @Test
    fun whatWasOpenedIsClosed() {
        val engine = FakeEngine()
        Comparison(listOf("dense" to { classifier(4, engine = engine) })).close()
        assertTrue(engine.closed)
    }
}
