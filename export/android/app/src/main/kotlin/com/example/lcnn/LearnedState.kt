package com.example.lcnn

import java.io.File
import java.io.FileOutputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.file.Files
import java.nio.file.StandardCopyOption
import java.util.zip.CRC32

/**
 * What a model has learned; as a file the same as that of `tf_lcnn.runtime.learning`.
 *
 * @property model four numbers that tell the model from others.
 */
class LearnedState(val model: IntArray, val numbers: FloatArray) {
    fun toBytes(): ByteArray {
        val size = 4 * (model.size + numbers.size)
        val buffer = ByteBuffer.allocate(size + SUM).order(ByteOrder.LITTLE_ENDIAN)
        model.forEach { buffer.putInt(it) }
        numbers.forEach { buffer.putFloat(it) }
        return buffer.putInt(sum(buffer.array(), size)).array()
    }

    /** Writes it whole or not at all: if the phone dies meanwhile, the old file is there. */
    fun write(file: File) {
        val beside = File(file.path + ".partial")
        try {
            FileOutputStream(beside).use {
                it.write(toBytes())
                // Or the name may be on the disk before the content is.
                it.fd.sync()
            }
            Files.move(
                beside.toPath(),
                file.toPath(),
                StandardCopyOption.ATOMIC_MOVE,
                StandardCopyOption.REPLACE_EXISTING,
            )
        } finally {
            beside.delete()
        }
    }

    companion object {
        private const val STAMP = 4
        private const val SUM = 4

        /**
         * @param count of numbers that the model learns.
         * @throws ModelException if the file is another one, damaged, or was cut short.
         */
        fun read(file: File, count: Int): LearnedState {
            val bytes = file.readBytes()
            val size = 4 * (STAMP + count)
            val buffer = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN)
            if (bytes.size != size + SUM || buffer.getInt(size) != sum(bytes, size)) {
                throw ModelException("${file.name} is no state of this model, or is damaged.")
            }
            val model = IntArray(STAMP) { buffer.getInt() }
            return LearnedState(model, FloatArray(count) { buffer.getFloat() })
        }

        private fun sum(bytes: ByteArray, size: Int): Int =
            CRC32().apply { update(bytes, 0, size) }.value.toInt()
    }
}
