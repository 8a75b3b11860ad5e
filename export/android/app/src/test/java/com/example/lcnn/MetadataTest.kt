package com.example.lcnn

import java.io.File
import java.util.Base64
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

class MetadataTest {
    @get:Rule val folder = TemporaryFolder()

    private fun file(content: ByteArray): File = folder.newFile().apply { writeBytes(content) }

    @Test
    fun metadataIsReadFromTheArchiveAtTheEnd() {
        for (case in Vectors.array("files")) {
            val metadata = Metadata.read(file(Base64.getDecoder().decode(case.getString("base64"))))
            assertEquals(case.getString("name"), metadata.name)
            assertEquals(case.getJSONArray("labels").strings(), metadata.labels)
            assertEquals(case.getJSONObject("input").inputSpec(), metadata.input)
        }
    }

    @Test
    fun filesWithoutUsableMetadataAreRefused() {
        for (case in Vectors.array("refused_files")) {
            assertThrows(case.getString("name"), MetadataException::class.java) {
                Metadata.read(file(Base64.getDecoder().decode(case.getString("base64"))))
            }
        }
        assertThrows(MetadataException::class.java) { Metadata.read(File(folder.root, "none")) }
    }
}
