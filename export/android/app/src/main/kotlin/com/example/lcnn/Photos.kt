package com.example.lcnn

import android.content.Intent
import android.graphics.Bitmap
import android.graphics.ImageDecoder
import android.os.Build
import android.provider.MediaStore

/** Asks for one photo, which needs no permission; Android has a picker of its own since 13. */
fun photoPicker(): Intent =
    if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) {
        Intent(MediaStore.ACTION_PICK_IMAGES).setType("image/*")
    } else {
        Intent(Intent.ACTION_GET_CONTENT)
            .setType("image/*")
            .addCategory(Intent.CATEGORY_OPENABLE)
    }

/**
 * A photo the right way up.
 *
 * @param needed pixels that its short side should have at least.
 * @throws java.io.IOException if it is no picture that Android reads.
 */
fun decode(source: ImageDecoder.Source, needed: Int): Photo {
    val bitmap =
        ImageDecoder.decodeBitmap(source) { decoder, info, _ ->
            decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE
            // Photos of 50 megapixels and more do not fit into memory; four times the length that
            // is needed leaves the resizing almost as it is.
            val short = minOf(info.size.width, info.size.height)
            decoder.setTargetSampleSize(maxOf(short / (4 * needed), 1))
        }
    val pixels = IntArray(bitmap.width * bitmap.height)
    bitmap.getPixels(pixels, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
    return Photo(pixels, bitmap.width, bitmap.height)
}

fun Photo.toBitmap(): Bitmap =
    Bitmap.createBitmap(pixels, width, height, Bitmap.Config.ARGB_8888)
