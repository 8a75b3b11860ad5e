package com.example.lcnn

import android.Manifest
import android.app.Activity
import android.content.Intent
import android.graphics.ImageDecoder
import android.net.Uri
import android.os.Build
import android.provider.MediaStore
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.ImageView
import android.widget.TextView
import java.io.File
import java.nio.ByteBuffer
import java.util.Base64
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode

/** The activity with models that answer what they are told to. */
class ToldActivity : MainActivity() {
    val engines = mutableMapOf<String, FakeEngine>()
    var photo: ByteArray? = null

    override fun engine(file: File) =
        if (told) FakeEngine().also { engines[file.name] = it } else super.engine(file)

    override fun asset(name: String) = files[name]?.inputStream() ?: super.asset(name)

    override fun source(uri: Uri): ImageDecoder.Source =
        photo?.let { ImageDecoder.createSource(ByteBuffer.wrap(it)) } ?: super.source(uri)

    companion object {
        /** Before it starts: its assets, and whether models are told what to answer. */
        var files = emptyMap<String, ByteArray>()
        var told = true
    }
}

/** The activity on a JVM, on the oldest Android that it runs on and a new one. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [28, 35], shadows = [ShadowFrame::class])
class MainActivityTest {
    private val model = byteArrayOf(28, 0, 0, 0) + "TFL3".toByteArray()

    @Before
    fun nothingIsTold() {
        ToldActivity.files = emptyMap()
        ToldActivity.told = true
    }

    private fun run(test: (ToldActivity) -> Unit) =
        Robolectric.buildActivity(ToldActivity::class.java).use { controller ->
            val activity = controller.setup().get()
            activity.settle()
            test(activity)
        }

    private fun bothModels() {
        ToldActivity.files = MainActivity.MODELS.associateWith { model }
    }

    private fun allowCamera() =
        shadowOf(RuntimeEnvironment.getApplication()).grantPermissions(Manifest.permission.CAMERA)

    private fun contains(texts: List<String>, text: String) =
        assertTrue("$text is not in $texts", texts.any { text in it })

    @Test
    fun modelsThatAreMissingOrNoneAreNamedInOneLine() {
        ToldActivity.files = mapOf("lcnn.tflite" to "a text".toByteArray())
        allowCamera()
        run { activity ->
            val missing = "dense.tflite: not in this app: put it into app/src/main/assets."
            contains(activity.texts(), missing)
            contains(activity.texts(), "lcnn.tflite: no .tflite file.")
            activity.button("Camera").performClick()
            activity.settle()
            contains(activity.texts(), "No model runs: see above.")
            activity.button("Camera")
        }
    }

    @Test
    fun whereLiteRtDoesNotLoadTheColumnsSaySo() {
        bothModels()
        ToldActivity.told = false
        run { activity ->
            contains(activity.texts(), "lcnn.tflite: LiteRT does not run on this processor.")
        }
    }

    @Test
    fun photosArePickedWithAndroidsOwnPicker() {
        val expected =
            if (Build.VERSION.SDK_INT < 33) Intent.ACTION_GET_CONTENT
            else MediaStore.ACTION_PICK_IMAGES
        run { activity -> assertEquals(expected, activity.askForPhoto().action) }
    }

    @Test
    @GraphicsMode(GraphicsMode.Mode.NATIVE)
    fun aPhotoIsShownAndClassifiedByBoth() {
        bothModels()
        run { activity ->
            activity.photo = PNG
            activity.answer(activity.askForPhoto(), Uri.parse("content://photos/1"))
            val texts = activity.texts()
            contains(texts, "times as fast as dense.tflite\nclass 1\nclass 2\nclass 0")
            contains(texts, "Median of 21 runs; 1 thread, ")
            assertNotNull(activity.views().filterIsInstance<ImageView>().single().drawable)
            // One run more, which is not timed.
            assertEquals(22, activity.engines.getValue("lcnn.tflite").seen.size)
        }
    }

    @Test
    fun aPhotoThatDoesNotOpenIsNamed() {
        bothModels()
        run { activity ->
            activity.answer(activity.askForPhoto(), Uri.parse("content://photos/none"))
            contains(activity.texts(), "This photo does not open: ")
        }
    }

    @Test
    fun withoutPermissionThereIsNoCamera() {
        bothModels()
        run { activity ->
            activity.button("Camera").performClick()
            val asked = shadowOf(activity).lastRequestedPermission
            assertEquals(listOf(Manifest.permission.CAMERA), asked.requestedPermissions.toList())
            activity.onRequestPermissionsResult(
                asked.requestCode,
                asked.requestedPermissions,
                intArrayOf(-1),
            )
            activity.settle()
            contains(activity.texts(), "Without the permission there is no camera")
            activity.button("Camera")
        }
    }

    @Test
    fun aPhoneWithoutCameraSaysSo() {
        bothModels()
        allowCamera()
        run { activity ->
            activity.button("Camera").performClick()
            activity.settle()
            contains(activity.texts(), "This phone has no camera.")
        }
    }

    @Test
    fun framesOfTheCameraAreClassifiedUntilItIsStopped() {
        bothModels()
        addCamera()
        allowCamera()
        run { activity ->
            activity.button("Camera").performClick()
            activity.settle()
            val reader = activity.camera!!.reader!!
            assertEquals(Pair(640, 480), Pair(reader.width, reader.height))
            reader.surface.run { unlockCanvasAndPost(lockCanvas(null)) }
            activity.settle()
            contains(activity.texts(), "class 1\nclass 2\nclass 0")
            contains(activity.texts(), " ms with preparing; median of 21; 1 thread")
            // The sensor lies a quarter turn from the screen.
            val photo = activity.views().filterIsInstance<ImageView>().single().drawable
            assertEquals(Pair(480, 640), Pair(photo.intrinsicWidth, photo.intrinsicHeight))

            activity.button("Stop the camera").performClick()
            activity.settle()
            assertNull(activity.camera)
            activity.button("Camera")
        }
    }

    @Test
    fun theCameraIsLeftWhileTheAppIsNotSeen() {
        bothModels()
        addCamera()
        allowCamera()
        Robolectric.buildActivity(ToldActivity::class.java).use { controller ->
            val activity = controller.setup().get()
            activity.button("Camera").performClick()
            activity.settle()
            assertNotNull(activity.camera)
            controller.pause().stop()
            activity.settle()
            assertNull(activity.camera)
            controller.start().resume()
            activity.settle()
            assertNotNull(activity.camera)
        }
    }

    private companion object {
        // One white pixel.
        val PNG: ByteArray =
            Base64.getDecoder()
                .decode(
                    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmM" +
                        "IQAAAABJRU5ErkJggg=="
                )
    }
}

private fun MainActivity.settle() {
    shadowOf(worker.looper).idle()
    shadowOf(mainLooper).idle()
}

private fun MainActivity.askForPhoto(): Intent {
    button("Pick a photo").performClick()
    return shadowOf(this).nextStartedActivityForResult.intent
}

private fun MainActivity.answer(asked: Intent, photo: Uri) {
    shadowOf(this).receiveResult(asked, Activity.RESULT_OK, Intent().setData(photo))
    settle()
}

private fun Activity.views(): List<View> {
    fun below(view: View): List<View> =
        if (view is ViewGroup) List(view.childCount) { below(view.getChildAt(it)) }.flatten()
        else listOf(view)
    return below(findViewById(android.R.id.content))
}

private fun Activity.texts() = views().filterIsInstance<TextView>().map { it.text.toString() }

private fun Activity.button(text: String) =
    views().filterIsInstance<Button>().single { it.text == text }
