package com.example.lcnn

import java.io.Closeable
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.tensorflow.lite.DataType
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.Tensor

class Prediction(val label: String, val probability: Float)

/** @property milliseconds of one run of the model, without preparing the photo. */
class Result(val predictions: List<Prediction>, val milliseconds: Double)

/**
 * An exported .tflite with its metadata.
 *
 * @throws MetadataException if the file's metadata is missing or does not fit its tensors.
 */
class Classifier(file: File) : Closeable {
    val metadata = Metadata.read(file)
    private val interpreter = Interpreter(file, Interpreter.Options().setNumThreads(THREADS))
    private val input: TensorSpec
    private val output: TensorSpec
    private val logits: ByteBuffer

    init {
        try {
            val spec = metadata.input
            val shape = interpreter.getInputTensor(0).shape().toList()
            if (shape != listOf(1, spec.height, spec.width, spec.channels)) {
                throw MetadataException("The model's input is $shape, its metadata says $spec.")
            }
            val outputs = interpreter.getOutputTensor(0)
            if (outputs.numElements() != metadata.labels.size) {
                throw MetadataException(
                    "The model has ${outputs.numElements()} outputs and ${metadata.labels.size} labels."
                )
            }
            input = interpreter.getInputTensor(0).spec()
            output = outputs.spec()
            logits = ByteBuffer.allocateDirect(outputs.numBytes()).order(ByteOrder.nativeOrder())
        } catch (error: Exception) {
            interpreter.close()
            throw error
        }
    }

    fun classify(photo: Photo): Result {
        val pixels = toInput(photo, metadata.input, input)
        // Memory is first touched by the first run.
        run(pixels)
        val milliseconds = List(RUNS) { run(pixels) }
        val probabilities = softmax(fromOutput(logits, metadata.labels.size, output))
        val predictions =
            largest(probabilities, SHOWN).map { Prediction(metadata.labels[it], probabilities[it]) }
        return Result(predictions, median(milliseconds))
    }

    private fun run(pixels: ByteBuffer): Double {
        // The interpreter writes from the buffer's position on.
        logits.rewind()
        val start = System.nanoTime()
        interpreter.run(pixels, logits)
        return (System.nanoTime() - start) / 1e6
    }

    override fun close() = interpreter.close()

    private fun Tensor.spec(): TensorSpec {
        val type =
            when (dataType()) {
                DataType.FLOAT32 -> TensorType.FLOAT32
                DataType.INT8 -> TensorType.INT8
                DataType.UINT8 -> TensorType.UINT8
                else -> throw MetadataException("The model has a tensor of ${dataType()}.")
            }
        val quantization = quantizationParams()
        return TensorSpec(type, quantization.scale, quantization.zeroPoint)
    }

    companion object {
        const val RUNS = 7
        private const val SHOWN = 3
        private const val THREADS = 1
    }
}
