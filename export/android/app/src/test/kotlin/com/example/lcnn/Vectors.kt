package com.example.lcnn

import org.json.JSONArray
import org.json.JSONObject

/** What the Python side of the project expects too; see tests/export/test_android.py there. */
object Vectors {
    private val root =
        JSONObject(Vectors::class.java.getResource("/vectors.json")!!.readText())

    fun array(name: String): List<JSONObject> {
        val array = root.getJSONArray(name)
        return List(array.length()) { array.getJSONObject(it) }
    }
}

fun JSONArray.doubles() = List(length()) { getDouble(it) }

fun JSONArray.ints() = List(length()) { getInt(it) }

fun JSONArray.strings() = List(length()) { getString(it) }

/** Rows of 0xAARRGGBB. */
fun JSONArray.pixels(): IntArray {
    val words = strings().joinToString(" ").split(" ")
    return IntArray(words.size) { words[it].toLong(16).toInt() }
}

fun JSONObject.inputSpec() =
    InputSpec(
        getInt("height"),
        getInt("width"),
        getInt("channels"),
        getJSONArray("mean").doubles(),
        getJSONArray("std").doubles(),
        if (isNull("short_side")) null else getInt("short_side"),
    )

fun JSONObject.tensorSpec() =
    TensorSpec(
        TensorType.valueOf(getString("type").uppercase()),
        getDouble("scale").toFloat(),
        getInt("zero_point"),
    )
