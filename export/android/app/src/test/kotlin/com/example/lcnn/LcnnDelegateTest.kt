package com.example.lcnn

import org.junit.Assert.assertNotEquals
import org.junit.Assert.assertThrows
import org.junit.Assume.assumeTrue
import org.junit.Test

/** Where java.library.path has liblcnn_jni.so, built for the machine of the test. */
class LcnnDelegateTest {
    @Test
    fun theLibraryMakesADelegate() {
        assumeTrue(LcnnDelegate.available)
        LcnnDelegate(1).use { assertNotEquals(0L, it.nativeHandle) }
        assertThrows(IllegalArgumentException::class.java) { LcnnDelegate(0) }
    }
}
