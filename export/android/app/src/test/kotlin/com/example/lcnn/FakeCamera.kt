package com.example.lcnn

import android.content.Context
import android.graphics.ImageFormat
import android.hardware.camera2.CameraCharacteristics
import android.hardware.camera2.CameraManager
import android.util.Size
import java.nio.ByteBuffer
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Implementation
import org.robolectric.annotation.Implements
import org.robolectric.annotation.RealObject
import org.robolectric.shadows.ShadowCameraCharacteristics
import org.robolectric.shadows.ShadowImageReader
import org.robolectric.shadows.StreamConfigurationMapBuilder
import org.robolectric.util.ReflectionHelpers
import org.robolectric.util.ReflectionHelpers.ClassParameter.from

/** A camera at the back, with a sensor as most phones have it. */
fun addCamera() {
    val about = ShadowCameraCharacteristics.newCameraCharacteristics()
    val sizes =
        StreamConfigurationMapBuilder.newBuilder()
            .addOutputSize(ImageFormat.YUV_420_888, Size(1920, 1080))
            .addOutputSize(ImageFormat.YUV_420_888, Size(640, 480))
            .build()
    shadowOf(about).apply {
        set(CameraCharacteristics.LENS_FACING, CameraCharacteristics.LENS_FACING_BACK)
        set(CameraCharacteristics.SENSOR_ORIENTATION, 90)
        set(CameraCharacteristics.SCALER_STREAM_CONFIGURATION_MAP, sizes)
    }
    val manager =
        RuntimeEnvironment.getApplication().getSystemService(Context.CAMERA_SERVICE)
            as CameraManager
    shadowOf(manager).addCamera("0", about)
}

/** Gives the frames of Robolectric's ImageReader planes, which it leaves to native code. */
@Implements(className = "android.media.ImageReader\$SurfaceImage", looseSignatures = true)
class ShadowFrame : ShadowImageReader.ShadowSurfaceImage() {
    @RealObject private lateinit var image: Any

    @Implementation
    override fun getWidth() = 640

    @Implementation
    override fun getHeight() = 480

    @Implementation
    override fun getFormat() = ImageFormat.YUV_420_888

    @Implementation(maxSdk = 33)
    fun nativeCreatePlanes(count: Any, format: Any): Any = planes()

    @Implementation(minSdk = 34)
    fun nativeCreatePlanes(count: Any, format: Any, usage: Any): Any = planes()

    private fun planes(): Any {
        val kind = Class.forName("android.media.ImageReader\$SurfaceImage\$SurfacePlane")
        val made = java.lang.reflect.Array.newInstance(kind, 3)
        for ((at, strides) in listOf(Pair(640, 1), Pair(640, 2), Pair(640, 2)).withIndex()) {
            val bytes = ByteBuffer.allocateDirect(if (at == 0) 640 * 480 else 640 * 240 - 1)
            val plane =
                ReflectionHelpers.callConstructor(
                    kind,
                    from(image.javaClass, image),
                    from(Int::class.javaPrimitiveType, strides.first),
                    from(Int::class.javaPrimitiveType, strides.second),
                    from(ByteBuffer::class.java, bytes),
                )
            java.lang.reflect.Array.set(made, at, plane)
        }
        return made
    }
}
