package com.example.lcnn

import java.io.File
import java.util.Base64
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

class LearnedStateTest {
    @get:Rule val folder = TemporaryFolder()

    @Test
    fun theFileIsThatOfPython() {
        for (case in Vectors.array("states")) {
            val numbers = case.getJSONArray("numbers").doubles().map { it.toFloat() }.toFloatArray()
            val model = case.getJSONArray("model").ints().toIntArray()
            val bytes = Base64.getDecoder().decode(case.getString("base64"))
            assertArrayEquals(bytes, LearnedState(model, numbers).toBytes())
            val file = folder.newFile().apply { writeBytes(bytes) }
            val read = LearnedState.read(file, numbers.size)
            assertArrayEquals(model, read.model)
            assertArrayEquals(numbers, read.numbers, 0f)
        }
    }

    @Test
    fun whatIsNotWholeIsRefused() {
        val file = folder.newFile()
        val whole = LearnedState(intArrayOf(1, 2, 3, 4), floatArrayOf(5f, 6f)).toBytes()
        val flipped = whole.clone().also { it[20] = 1 }
        val short = whole.copyOf(whole.size - 4)
        for (bytes in listOf(ByteArray(0), short, flipped, whole + 0)) {
            file.writeBytes(bytes)
            assertThrows(ModelException::class.java) { LearnedState.read(file, 2) }
        }
    }

    @Test
    fun aWriteThatFailsLeavesTheOldFile() {
        val file = folder.newFile()
        val old = LearnedState(intArrayOf(1, 2, 3, 4), floatArrayOf(5f))
        old.write(file)
        // Where the new one would be written a folder is in the way.
        val blocked = File(file.path + ".partial").apply { mkdir() }
        File(blocked, "inside").createNewFile()
        assertThrows(java.io.IOException::class.java) {
            LearnedState(old.model, floatArrayOf(7f)).write(file)
        }
        assertArrayEquals(old.toBytes(), file.readBytes())
        blocked.deleteRecursively()
        LearnedState(old.model, floatArrayOf(7f)).write(file)
        assertEquals(7f, LearnedState.read(file, 1).numbers[0])
        assertEquals(listOf(file.name), folder.root.list()!!.toList())
    }
}
