// Kotlin needs no plugin of its own: since 9.0 the Android plugin compiles it.
plugins {
    alias(libs.plugins.android.application)
}

android {
    namespace = "com.example.lcnn"
    compileSdk = 36

    defaultConfig {
        applicationId = "com.example.lcnn"
        // ImageDecoder, which turns a photo upright, is new in 28.
        minSdk = 28
        targetSdk = 36
        versionCode = 1
        versionName = "0.1.0"
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }

    testOptions {
        unitTests.isIncludeAndroidResources = true
    }
}

dependencies {
    implementation(libs.litert)

    testImplementation(libs.junit)
    testImplementation(libs.robolectric)
    // On a phone org.json is part of Android; in a unit test Android's classes are empty.
    testImplementation(libs.json)
}
