package com.example.lcnn

import org.tensorflow.lite.Delegate

/**
 * The native delegate, in which lookup layers run as one kernel each. The app runs without it; the
 * README says how to build it in.
 *
 * Close it after the interpreter that uses it.
 *
 * @throws UnsatisfiedLinkError if it was not built into the app: see [available].
 */
class LcnnDelegate(threads: Int) : Delegate {
    private var handle: Long

    init {
        System.loadLibrary(LIBRARY)
        handle = create(threads)
        require(handle != 0L) { "The delegate takes 1 to 64 threads, not $threads." }
    }

    override fun getNativeHandle() = handle

    override fun close() {
        destroy(handle)
        handle = 0
    }

    private external fun create(threads: Int): Long

    private external fun destroy(handle: Long)

    companion object {
        private const val LIBRARY = "lcnn_jni"

        /** Whether it was built into the app. */
        val available: Boolean by lazy {
            try {
                System.loadLibrary(LIBRARY)
                true
            } catch (error: UnsatisfiedLinkError) {
                false
            }
        }
    }
}
