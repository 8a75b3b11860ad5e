package com.example.lcnn

import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Test

class RunningMedianTest {
    @Test
    fun medianIsTheMiddleOrBetweenTheTwoInTheMiddle() {
        val values = RunningMedian(4)
        val expected = listOf(9.0 to 9.0, 1.0 to 5.0, 2.0 to 2.0, 0.0 to 1.5)
        for ((value, median) in expected) {
            values.add(value)
            assertEquals(median, values.median(), 0.0)
        }
    }

    @Test
    fun onlyTheLastValuesCount() {
        val values = RunningMedian(3)
        for (value in listOf(100.0, 100.0, 1.0, 2.0, 3.0)) values.add(value)
        assertEquals(2.0, values.median(), 0.0)
    }

    @Test
    fun withoutValuesThereIsNone() {
        assertThrows(NoSuchElementException::class.java) { RunningMedian(3).median() }
    }
}
