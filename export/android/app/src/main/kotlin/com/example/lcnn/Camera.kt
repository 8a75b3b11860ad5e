package com.example.lcnn

import android.annotation.SuppressLint
import android.graphics.ImageFormat
import android.hardware.camera2.CameraAccessException
import android.hardware.camera2.CameraCaptureSession
import android.hardware.camera2.CameraCharacteristics
import android.hardware.camera2.CameraDevice
import android.hardware.camera2.CameraManager
import android.hardware.camera2.CaptureRequest
import android.hardware.camera2.params.OutputConfiguration
import android.hardware.camera2.params.SessionConfiguration
import android.media.Image
import android.media.ImageReader
import android.os.Handler
import java.io.Closeable

/**
 * Frames of the camera at the phone's back, or of another one where there is none there.
 *
 * @param handler on whose thread all happens; frames that come while it works are left out.
 * @param failed gets one line when the camera stops, or does not start.
 */
class Camera(
    private val manager: CameraManager,
    private val handler: Handler,
    private val frame: (Photo) -> Unit,
    private val failed: (String) -> Unit,
) : Closeable {
    private var device: CameraDevice? = null
    internal var reader: ImageReader? = null
        private set

    private var closed = false

    /**
     * @param needed pixels that a frame's short side should have.
     * @param display degrees that the screen is turned from its usual way up.
     */
    @SuppressLint("MissingPermission") // The activity asks before.
    fun open(needed: Int, display: Int) {
        try {
            val id = choose() ?: return failed("This phone has no camera.")
            val about = manager.getCameraCharacteristics(id)
            val turn =
                uprightTurn(
                    about.get(CameraCharacteristics.SENSOR_ORIENTATION) ?: 0,
                    display,
                    facesUser(about),
                )
            val sizes =
                about.get(CameraCharacteristics.SCALER_STREAM_CONFIGURATION_MAP)
                    ?.getOutputSizes(ImageFormat.YUV_420_888)
                    ?.map { Pair(it.width, it.height) }
            if (sizes.isNullOrEmpty()) return failed("The camera gives no YUV_420_888 frames.")
            val (width, height) = frameSize(sizes, maxOf(needed, LEAST))
            val images = ImageReader.newInstance(width, height, ImageFormat.YUV_420_888, IMAGES)
            images.setOnImageAvailableListener({ take(it, turn) }, handler)
            reader = images
            manager.openCamera(id, Opened(images), handler)
        } catch (error: CameraAccessException) {
            failed("The camera does not open: ${line(error)}")
        } catch (error: SecurityException) {
            failed("The camera may not be used: ${line(error)}")
        }
    }

    override fun close() {
        closed = true
        device?.close()
        device = null
        reader?.close()
        reader = null
    }

    private fun choose(): String? {
        val ids = manager.cameraIdList
        return ids.find { !facesUser(manager.getCameraCharacteristics(it)) } ?: ids.firstOrNull()
    }

    private fun facesUser(about: CameraCharacteristics) =
        about.get(CameraCharacteristics.LENS_FACING) == CameraCharacteristics.LENS_FACING_FRONT

    private fun take(images: ImageReader, turn: Int) {
        val image = if (closed) null else images.acquireLatestImage()
        if (image != null) frame(image.use { it.toPhoto(turn) })
    }

    private fun end(problem: String) {
        close()
        failed(problem)
    }

    private inner class Opened(private val images: ImageReader) : CameraDevice.StateCallback() {
        override fun onOpened(camera: CameraDevice) {
            if (closed) return camera.close()
            device = camera
            try {
                camera.createCaptureSession(
                    SessionConfiguration(
                        SessionConfiguration.SESSION_REGULAR,
                        listOf(OutputConfiguration(images.surface)),
                        { handler.post(it) },
                        Configured(images),
                    )
                )
            } catch (error: CameraAccessException) {
                end("The camera does not start: ${line(error)}")
            }
        }

        override fun onDisconnected(camera: CameraDevice) =
            lost(camera, "Another app took the camera.")

        override fun onError(camera: CameraDevice, error: Int) =
            lost(camera, "The camera failed (error $error).")

        private fun lost(camera: CameraDevice, problem: String) {
            camera.close()
            if (!closed) end(problem)
        }
    }

    private inner class Configured(private val images: ImageReader) :
        CameraCaptureSession.StateCallback() {
        override fun onConfigured(session: CameraCaptureSession) {
            if (closed) return
            try {
                val request = session.device.createCaptureRequest(CameraDevice.TEMPLATE_PREVIEW)
                request.addTarget(images.surface)
                request.set(
                    CaptureRequest.CONTROL_AF_MODE,
                    CaptureRequest.CONTROL_AF_MODE_CONTINUOUS_PICTURE,
                )
                session.setRepeatingRequest(request.build(), null, handler)
            } catch (error: CameraAccessException) {
                end("The camera does not start: ${line(error)}")
            } catch (error: IllegalStateException) {
                end("The camera does not start: ${line(error)}")
            }
        }

        override fun onConfigureFailed(session: CameraCaptureSession) =
            end("The camera does not give frames of this size.")
    }

    private companion object {
        // One that is looked at and one that comes meanwhile.
        const val IMAGES = 2
        // Pixels of the short side that still look well on the screen.
        const val LEAST = 480
    }
}

private fun Image.toPhoto(turn: Int): Photo {
    val planes = planes.map { Plane(it.buffer, it.rowStride, it.pixelStride) }
    return cropRect.run { toPhoto(planes, left, top, width(), height(), turn) }
}
