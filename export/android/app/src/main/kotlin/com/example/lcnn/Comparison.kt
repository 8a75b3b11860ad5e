package com.example.lcnn

import java.io.Closeable
import java.util.Locale

/**
 * What one model makes of a frame, or why it makes nothing of it.
 *
 * @property milliseconds the median of its last runs; [ratio] how many times as fast as the first
 *   model it is.
 */
class Row(
    val name: String,
    val predictions: List<Prediction> = emptyList(),
    val milliseconds: Double? = null,
    val ratio: Double? = null,
    val problem: String? = null,
)

/**
 * Several models on the same frames, one after the other.
 *
 * @param models name of each, and what opens it. One that does not open, or fails, says so in its
 *   row and leaves the others alone.
 */
class Comparison(models: List<Pair<String, () -> Classifier>>) : Closeable {
    private class Entry(val name: String, val classifier: Classifier?, var problem: String?) {
        val times = RunningMedian(LAST)
    }

    private val entries = models.map { (name, open) ->
        try {
            Entry(name, open(), null)
        } catch (error: Exception) {
            Entry(name, null, line(error))
        }
    }

    /** The short side that a photo should have at least; null if no model runs. */
    val needed: Int? =
        entries.mapNotNull { it.classifier?.input }
            .maxOfOrNull { it.shortSide ?: maxOf(it.height, it.width) }

    /** The models as they are before the first frame. */
    fun rows(): List<Row> = entries.map { Row(it.name, problem = it.problem) }

    fun look(photo: Photo): List<Row> {
        val answers = entries.map { entry -> entry.classifier?.let { attempt(entry, it, photo) } }
        val first = entries.first().takeIf { answers.first() != null }?.times?.median()
        return entries.zip(answers) { entry, answer ->
            if (answer == null) return@zip Row(entry.name, problem = entry.problem)
            val milliseconds = entry.times.median()
            Row(entry.name, answer.predictions, milliseconds, first?.div(milliseconds))
        }
    }

    private fun attempt(entry: Entry, classifier: Classifier, photo: Photo): Answer? =
        try {
            entry.problem = null
            classifier.classify(photo).also { entry.times.add(it.milliseconds) }
        } catch (error: Exception) {
            entry.problem = line(error)
            null
        }

    override fun close() = entries.forEach { it.classifier?.close() }

    companion object {
        /** Of how many runs the median is shown. */
        const val LAST = 21
    }
}

/** A row as the screen shows it; all but the first are compared with [baseline]. */
fun describe(row: Row, baseline: String): String {
    if (row.problem != null) return "${row.name}: ${row.problem}"
    if (row.milliseconds == null) return row.name
    val ratio = row.ratio.takeIf { row.name != baseline }
    val labels = row.predictions.map { prediction ->
        val percent = prediction.probability?.let { format(": %.1f %%", 100 * it) } ?: ""
        prediction.label + percent
    }
    return listOfNotNull(
            row.name,
            format("%.2f ms", row.milliseconds),
            ratio?.let { format("%.2f times as fast as $baseline", it) },
        )
        .plus(labels)
        .joinToString("\n")
}

/** The first line of what went wrong. */
fun line(error: Throwable): String =
    (error.message ?: error.toString()).trim().lineSequence().first().take(200)

private fun format(pattern: String, value: Number): String =
    String.format(Locale.ROOT, pattern, value.toDouble())
