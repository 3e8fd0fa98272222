// How an Android app calls `dynamic.tflite`. Written by the export: names, types and shapes are those of this model.
// Gradle: implementation("com.google.ai.edge.litert:litert:1.4.0"), whose classes are in org.tensorflow.lite.
// Assets: dynamic.tflite, vocab.json, characters.tsv; WordPiece.java goes beside this file.
import android.content.Context
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.json.JSONObject
import org.tensorflow.lite.Interpreter

class PhoneModel(context: Context) {
  private val interpreter = Interpreter(direct(context.assets.open("dynamic.tflite").use { it.readBytes() }))
  private val vocab = JSONObject(context.assets.open("vocab.json").bufferedReader().use { it.readText() })
  private val characters = WordPiece.readCharacters(context.assets.open("characters.tsv"))
  private val `word_words` = wordPiece("word")

  /**
   * Runs the signature `device`, by names. A missing value is what the line says.
   *
   * @param scan uint8 [1, 16, 16, 3]: RGB pixels, resized by the app; missing: all 0
   * @param word int32 [1, 12]: ids of `tokenizer.py` or `WordPiece.java` with `vocab.json`; missing: an empty text
   * @param seconds float32 [1]: a number, in the unit of the training rows; missing: NaN
   * @param holes float32 [1]: a number, in the unit of the training rows; missing: NaN
   * @param key_row int32 [1]: 0 is unknown, then from 1 on: ['top', 'upper', 'lower', 'bottom']; -1 is missing; missing: -1
   * @param key_column int32 [1]: 0 is unknown, then from 1 on: ['centre', 'right', 'left']; -1 is missing; missing: -1
   */
  fun predict(
    `scan`: ByteArray,
    `word`: String,
    `seconds`: Float,
    `holes`: Float,
    `key_row`: Int,
    `key_column`: Int,
  ): Map<String, FloatArray> {
    val inputs = mapOf<String, Any>(
      "scan" to direct(`scan`),
      "word" to direct(`word_words`.encode(`word`)),
      "seconds" to direct(floatArrayOf(`seconds`)),
      "holes" to direct(floatArrayOf(`holes`)),
      "key_row" to direct(intArrayOf(`key_row`)),
      "key_column" to direct(intArrayOf(`key_column`)),
    )
    val outputs = mapOf<String, ByteBuffer>(
      "digit" to empty(40),
      "magnitude" to empty(4),
    )
    interpreter.runSignature(inputs, outputs, "device")
    return outputs.mapValues { (_, bytes) ->
      bytes.rewind()
      FloatArray(bytes.remaining() / 4).also { bytes.asFloatBuffer().get(it) }
    }
  }

  private fun wordPiece(name: String): WordPiece {
    val own = vocab.getJSONObject(name)
    val words = own.getJSONArray("vocabulary")
    return WordPiece(
      characters, List(words.length()) { words.getString(it) }, own.getInt("length"), own.getInt("unknown"),
      own.getString("remove"), own.optInt("begin", -1), own.optInt("end", -1),
    )
  }

  private fun empty(size: Int) = ByteBuffer.allocateDirect(size).order(ByteOrder.nativeOrder())

  private fun direct(values: ByteArray) = empty(values.size).apply { put(values); rewind() }

  private fun direct(values: FloatArray) = empty(4 * values.size).apply { asFloatBuffer().put(values) }

  private fun direct(values: IntArray) = empty(4 * values.size).apply { asIntBuffer().put(values) }

  companion object {
    /** Of the output `digit`, in its order. */
    val `digit_classes` = listOf("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
  }
}
