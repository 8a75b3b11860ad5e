package com.example.lcnn

import android.content.Context
import android.view.View
import android.view.ViewGroup.LayoutParams.MATCH_PARENT
import android.view.ViewGroup.LayoutParams.WRAP_CONTENT
import android.widget.Button
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.TextView

/** What is seen: the frame, a column per model, a line of text and two buttons. */
class Screen(context: Context, models: Int) {
    val frame = ImageView(context).apply { contentDescription = "The frame that was classified" }
    val columns = List(models) { text(context) }
    val line = text(context)
    val pick = Button(context).apply { text = "Pick a photo" }
    val camera = Button(context).apply { text = START }

    val root: View =
        column(context).apply {
            // From Android 15 an app draws below the system bars unless it fits itself to them.
            fitsSystemWindows = true
            addView(frame, LinearLayout.LayoutParams(MATCH_PARENT, 0, 1f))
            addView(beside(context, columns))
            addView(line)
            addView(beside(context, listOf(pick, camera)))
        }

    fun show(rows: List<Row>) {
        rows.zip(columns) { row, column -> column.text = describe(row, rows.first().name) }
    }

    fun show(photo: Photo) = frame.setImageBitmap(photo.toBitmap())

    fun live(on: Boolean) {
        camera.text = if (on) STOP else START
    }

    private fun column(context: Context) =
        LinearLayout(context).apply { orientation = LinearLayout.VERTICAL }

    private fun beside(context: Context, views: List<View>) =
        LinearLayout(context).apply {
            for (view in views) addView(view, LinearLayout.LayoutParams(0, WRAP_CONTENT, 1f))
        }

    private fun text(context: Context) =
        TextView(context).apply {
            textSize = 16f
            val margin = (8 * resources.displayMetrics.density).toInt()
            setPadding(margin, margin, margin, margin)
        }

    private companion object {
        const val START = "Camera"
        const val STOP = "Stop the camera"
    }
}
