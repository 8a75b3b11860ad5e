package com.example.lcnn

import java.io.Closeable
import java.io.File
import java.nio.ByteBuffer
import java.nio.FloatBuffer
import java.nio.IntBuffer
import org.tensorflow.lite.Interpreter

/**
 * A model of `export(..., train=...)`, which learns on the phone: `tf_lcnn.runtime.learning` in
 * Kotlin, by the same signatures.
 *
 * @throws ModelException if the file cannot learn.
 */
class Learner(file: File) : Closeable {
    private val interpreter =
        Interpreter(file, Interpreter.Options().setNumThreads(LiteRt.THREADS))
    private val width: Int
    private val count: Int

    init {
        if (TRAIN !in interpreter.signatureKeys) {
            interpreter.close()
            throw ModelException("it has no signature \"$TRAIN\"; export it with train=...")
        }
        width = interpreter.getOutputTensorFromSignature("features", "features").shape()[1]
        count = interpreter.getInputTensorFromSignature("state", "restore").shape()[0]
    }

    /** What training takes of an image: once, since it stays the same. */
    fun features(image: ByteBuffer): FloatArray {
        val features = Array(1) { FloatArray(width) }
        run("features", mapOf("image" to image), mapOf("features" to features))
        return features[0]
    }

    /**
     * One step of gradient descent.
     *
     * @return the loss before it.
     * @throws ModelException if it cannot be learned; nothing was then.
     */
    fun train(features: Array<FloatArray>, labels: IntArray, rate: Float): Float {
        require(features.size == labels.size && features.isNotEmpty())
        val loss = FloatBuffer.allocate(1)
        val given =
            mapOf("features" to features, "labels" to labels, "rate" to floatArrayOf(rate))
        checked(TRAIN, given, mapOf("loss" to loss))
        return loss.get(0)
    }

    fun save(file: File) {
        val state = LearnedState(IntArray(STAMP), FloatArray(count))
        run("save", UNUSED, mapOf("model" to state.model, "state" to state.numbers))
        state.write(file)
    }

    /** @throws ModelException if the file is damaged or of another model; nothing has changed. */
    fun restore(file: File) {
        val state = LearnedState.read(file, count)
        checked("restore", mapOf("model" to state.model, "state" to state.numbers), emptyMap())
    }

    /** Forgets what was learned. */
    fun reset() = checked("reset", UNUSED, emptyMap())

    override fun close() = interpreter.close()

    private fun checked(name: String, given: Map<String, Any>, found: Map<String, Any>) {
        val error = IntBuffer.allocate(1)
        run(name, given, found + ("error" to error))
        if (error.get(0) != 0) throw ModelException(REASONS.getOrElse(error.get(0) - 1) { name })
    }

    private fun run(name: String, given: Map<String, Any>, found: Map<String, Any>) =
        interpreter.runSignature(given, found, name)

    private companion object {
        const val TRAIN = "train"
        const val STAMP = 4
        // LiteRT runs no signature without an input.
        val UNUSED = mapOf("unused" to IntArray(1))
        // Of the codes 1, 2 and 3 of tf_lcnn/runtime/learning.py.
        val REASONS =
            listOf(
                "a label is no class of the model.",
                "a number is not finite, or would not be after this step.",
                "the state is that of another model.",
            )
    }
}
