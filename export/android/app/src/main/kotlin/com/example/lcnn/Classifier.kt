package com.example.lcnn

import java.io.Closeable
import java.nio.ByteBuffer
import java.nio.ByteOrder

class Tensor(val shape: List<Int>, val values: TensorSpec)

/** What runs a model: LiteRT on a phone. */
interface Engine : Closeable {
    val inputs: List<Tensor>
    val outputs: List<Tensor>

    /** Runs the first input to the first output, both from the buffer's start on. */
    fun run(input: ByteBuffer, output: ByteBuffer)
}

/** @property probability null where the model does not say that its outputs are logits. */
data class Prediction(val label: String, val probability: Float?)

/** @property milliseconds of one run of the model, without preparing the photo. */
class Answer(val predictions: List<Prediction>, val milliseconds: Double)

/**
 * A model that names what is in a photo. Of a file that does not say more, classes are numbers and
 * pixels are given as 0 to 1.
 *
 * @param clock nanoseconds.
 * @throws ModelException if the model is no classifier of images, or its metadata does not fit its
 *   tensors.
 */
class Classifier(
    metadata: Metadata,
    private val engine: Engine,
    private val clock: () -> Long = System::nanoTime,
) : Closeable {
    val input: InputSpec
    private val tensor: TensorSpec
    private val output: TensorSpec
    private val labels: List<String>
    private val logits: ByteBuffer
    private val tellsProbabilities = metadata.input != null
    private var warm = false

    init {
        val inputs = engine.inputs
        val outputs = engine.outputs
        if (inputs.size != 1 || outputs.size != 1) {
            throw ModelException(
                "it has ${inputs.size} inputs and ${outputs.size} outputs; one of each works."
            )
        }
        input = inputOf(inputs.single().shape, metadata.input)
        labels = labelsOf(outputs.single().shape, metadata.labels)
        tensor = inputs.single().values
        output = outputs.single().values
        logits =
            ByteBuffer.allocateDirect(labels.size * output.type.bytes)
                .order(ByteOrder.nativeOrder())
    }

    fun classify(photo: Photo): Answer {
        val pixels = toInput(photo, input, tensor)
        // Memory is first touched by the first run.
        if (!warm) run(pixels)
        warm = true
        val milliseconds = run(pixels)
        val values = fromOutput(logits, labels.size, output)
        val scores = if (tellsProbabilities) softmax(values) else values
        val predictions =
            largest(scores, SHOWN).map {
                Prediction(labels[it], if (tellsProbabilities) scores[it] else null)
            }
        return Answer(predictions, milliseconds)
    }

    private fun run(pixels: ByteBuffer): Double {
        pixels.rewind()
        logits.rewind()
        val start = clock()
        engine.run(pixels, logits)
        return (clock() - start) / 1e6
    }

    override fun close() = engine.close()

    private companion object {
        const val SHOWN = 3

        fun inputOf(shape: List<Int>, stated: InputSpec?): InputSpec {
            if (shape.size != 4 || shape[0] != 1 || shape[3] !in listOf(1, 3)) {
                throw ModelException(
                    "its input is $shape, not an image [1, height, width, 1 or 3 channels]."
                )
            }
            val (_, height, width, channels) = shape
            if (stated == null) {
                fun each(value: Double) = List(channels) { value }
                return InputSpec(height, width, channels, each(0.0), each(255.0), null)
            }
            if (stated.height != height || stated.width != width || stated.channels != channels) {
                val (h, w, c) = listOf(stated.height, stated.width, stated.channels)
                throw ModelException("its input is $shape, its metadata says [1, $h, $w, $c].")
            }
            return stated
        }

        fun labelsOf(shape: List<Int>, stated: List<String>?): List<String> {
            if (shape.size != 2 || shape[0] != 1) {
                throw ModelException("its output is $shape, not one value per class [1, classes].")
            }
            if (stated != null && stated.size != shape[1]) {
                throw ModelException("it has ${shape[1]} outputs and ${stated.size} labels.")
            }
            return stated ?: List(shape[1]) { "class $it" }
        }
    }
}
