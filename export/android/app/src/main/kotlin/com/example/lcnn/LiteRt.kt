package com.example.lcnn

import java.io.File
import java.nio.ByteBuffer
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.Tensor as LiteRtTensor

/**
 * LiteRT on the processor, with the native delegate where that was built in.
 *
 * @throws ModelException if LiteRT does not take the file, or a tensor has numbers that the app
 *   does not know.
 */
class LiteRt(file: File) : Engine {
    private val delegate = if (LcnnDelegate.available) LcnnDelegate(THREADS) else null
    private val interpreter: Interpreter
    override val inputs: List<Tensor>
    override val outputs: List<Tensor>

    init {
        interpreter =
            try {
                val options = Interpreter.Options().setNumThreads(THREADS)
                delegate?.let(options::addDelegate)
                Interpreter(file, options)
            } catch (error: IllegalArgumentException) {
                delegate?.close()
                throw ModelException("LiteRT does not take it: ${line(error)}", error)
            } catch (error: UnsatisfiedLinkError) {
                delegate?.close()
                throw ModelException("LiteRT does not run on this processor.", error)
            }
        try {
            inputs = List(interpreter.inputTensorCount) { interpreter.getInputTensor(it).spec() }
            outputs = List(interpreter.outputTensorCount) { interpreter.getOutputTensor(it).spec() }
        } catch (error: ModelException) {
            close()
            throw error
        }
    }

    override fun run(input: ByteBuffer, output: ByteBuffer) = interpreter.run(input, output)

    override fun close() {
        interpreter.close()
        delegate?.close()
    }

    private fun LiteRtTensor.spec(): Tensor {
        val quantization = quantizationParams()
        val type = TensorType.of(dataType().name)
        return Tensor(
            shape().toList(),
            TensorSpec(type, quantization.scale, quantization.zeroPoint),
        )
    }

    companion object {
        const val THREADS = 1
    }
}
