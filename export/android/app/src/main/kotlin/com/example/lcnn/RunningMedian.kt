package com.example.lcnn

/** The median of the last [size] values. */
class RunningMedian(private val size: Int) {
    private val values = ArrayDeque<Double>()

    fun add(value: Double) {
        if (values.size == size) values.removeFirst()
        values.addLast(value)
    }

    /** @throws NoSuchElementException if there was no value yet. */
    fun median(): Double {
        if (values.isEmpty()) throw NoSuchElementException("no value yet")
        val sorted = values.sorted()
        return (sorted[(sorted.size - 1) / 2] + sorted[sorted.size / 2]) / 2
    }
}
