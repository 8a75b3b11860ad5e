package com.example.lcnn

import java.io.File
import java.util.Base64
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertThrows
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

class MetadataTest {
    @get:Rule val folder = TemporaryFolder()

    private fun file(content: ByteArray): File = folder.newFile().apply { writeBytes(content) }

    private fun file(case: JSONObject): File =
        file(Base64.getDecoder().decode(case.getString("base64")))

    @Test
    fun metadataIsReadFromTheArchiveAtTheEnd() {
        for (case in Vectors.array("files") + Vectors.array("files_that_say_less")) {
            val labels = if (case.isNull("labels")) null else case.getJSONArray("labels").strings()
            val input = if (case.isNull("input")) null else case.getJSONObject("input").inputSpec()
            assertEquals(case.getString("name"), Metadata(labels, input), Metadata.read(file(case)))
        }
    }

    @Test
    fun metadataThatIsNotUsableIsRefusedInOneLine() {
        for (case in Vectors.array("refused_files")) {
            val error =
                assertThrows(case.getString("name"), ModelException::class.java) {
                    Metadata.read(file(case))
                }
            assertFalse(case.getString("name"), error.message!!.contains("\n"))
        }
    }

    @Test
    fun membersThatAreDamagedAreRefused() {
        val case = Vectors.array("files").first { it.getString("base64").contains("UEsDBBQAAAAI") }
        val content = Base64.getDecoder().decode(case.getString("base64"))
        // The first member's deflated bytes come after 30 bytes and its name.
        val start = String(content, Charsets.ISO_8859_1).indexOf("PK\u0003\u0004") + 30 + 10
        content.fill(-1, start, start + 8)
        val error = assertThrows(ModelException::class.java) { Metadata.read(file(content)) }
        assertEquals("its metadata is damaged", error.message!!.substringBefore(":"))
    }

    @Test
    fun filesOfAnotherKindAreRefused() {
        checkTflite(file(byteArrayOf(28, 0, 0, 0) + "TFL3".toByteArray()))
        for (content in listOf("", "TFL3", "just a text, no model")) {
            val file = file(content.toByteArray())
            val error = assertThrows(ModelException::class.java) { checkTflite(file) }
            assertEquals("no .tflite file.", error.message)
        }
    }
}
