import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;

/**
 * Text to token ids as the exported model takes them. The same as {@code tokenizer.py}, for Android; Java 8, no library.
 *
 * <p>The settings of each text input are in {@code vocab.json}; {@code characters.tsv} lies beside it. With
 * {@code "tokens": "bytes"} use {@link #bytes}, else {@link #encode}.
 */
public final class WordPiece {
  private static final int MAX_WORD_BYTES = 100;

  private final Map<Integer, String> characters;
  private final Map<String, Integer> vocabulary = new HashMap<>();
  private final Pattern remove;
  private final int length;
  private final int unknown;
  private final int begin;
  private final int end;

  /**
   * A tokenizer.
   *
   * @param characters what {@link #readCharacters} returns
   * @param vocabulary the pieces; their places are the ids
   * @param length the model takes so many ids
   * @param unknown id of a word that no pieces spell
   * @param remove what is cut out of every text first, or null
   * @param begin id before the text, or -1 where {@code vocab.json} says null
   * @param end id after the text, or -1
   */
  public WordPiece(
      Map<Integer, String> characters,
      List<String> vocabulary,
      int length,
      int unknown,
      String remove,
      int begin,
      int end) {
    this.characters = characters;
    for (int i = 0; i < vocabulary.size(); i++) {
      this.vocabulary.put(vocabulary.get(i), i);
    }
    this.length = length;
    this.unknown = unknown;
    this.remove = pattern(remove);
    this.begin = begin;
    this.end = end;
  }

  /** Returns the ids of a text: {@code length} of them, 0 where it is shorter. */
  public int[] encode(String text) {
    StringBuilder normal = new StringBuilder();
    String kept = without(remove, text);
    for (int i = 0; i < kept.length(); i += Character.charCount(kept.codePointAt(i))) {
      int code = kept.codePointAt(i);
      String replacement = characters.get(code);
      if (replacement == null) {
        normal.appendCodePoint(code);
      } else {
        normal.append(replacement);
      }
    }
    List<Integer> ids = new ArrayList<>();
    for (String word : normal.toString().split(" ")) {
      if (!word.isEmpty()) {
        addPieces(word, ids);
      }
    }
    if (begin >= 0 && !ids.isEmpty()) {
      ids = new ArrayList<>(ids.subList(0, Math.min(ids.size(), length - 2)));
      ids.add(0, begin);
      ids.add(end);
    }
    return padded(ids, length);
  }

  /** Returns the ids of a model whose tokens are bytes: each byte plus 1, none for a text of white space alone. */
  public static int[] bytes(String text, int length, String remove) {
    List<Integer> ids = new ArrayList<>();
    boolean isBlank = true;
    for (int value : utf8(without(pattern(remove), text))) {
      ids.add(value + 1);
      isBlank &= value == 32 || (value >= 9 && value <= 13);
    }
    return padded(isBlank ? new ArrayList<Integer>() : ids, length);
  }

  private void addPieces(String word, List<Integer> ids) {
    List<Integer> found = new ArrayList<>();
    int start = utf8(word).size() > MAX_WORD_BYTES ? -1 : 0;
    while (start >= 0 && start < word.length()) {
      int next = -1;
      for (int stop = word.length(); stop > start && next < 0; stop--) {
        String piece = (start == 0 ? "" : "##") + word.substring(start, stop);
        Integer id = vocabulary.get(piece);
        if (id != null) {
          found.add(id);
          next = stop;
        }
      }
      start = next;
    }
    if (start < 0) {
      ids.add(unknown);
    } else {
      ids.addAll(found);
    }
  }

  private static Pattern pattern(String remove) {
    return remove == null || remove.isEmpty() ? null : Pattern.compile(remove);
  }

  private static String without(Pattern remove, String text) {
    return remove == null ? text : remove.matcher(text).replaceAll("");
  }

  private static int[] padded(List<Integer> ids, int length) {
    int[] array = new int[length];
    for (int i = 0; i < Math.min(ids.size(), length); i++) {
      array[i] = ids.get(i);
    }
    return array;
  }

  /** Half a surrogate pair gives three bytes, which {@code String.getBytes} would turn into a question mark. */
  private static List<Integer> utf8(String text) {
    List<Integer> bytes = new ArrayList<>();
    for (int i = 0; i < text.length(); i += Character.charCount(text.codePointAt(i))) {
      int code = text.codePointAt(i);
      if (code < 0x80) {
        bytes.add(code);
        continue;
      }
      int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
      bytes.add((0xFF00 >> more + 1 & 0xFF) | code >> 6 * more);
      while (more-- > 0) {
        bytes.add(0x80 | code >> 6 * more & 0x3F);
      }
    }
    return bytes;
  }

  /** Reads {@code characters.tsv}: ranges of code points, and what becomes of each; all others stay. */
  public static Map<Integer, String> readCharacters(InputStream file) throws IOException {
    Map<Integer, String> characters = new HashMap<>();
    try (BufferedReader reader = new BufferedReader(new InputStreamReader(file, StandardCharsets.US_ASCII))) {
      for (String line = reader.readLine(); line != null; line = reader.readLine()) {
        String[] cells = line.split("\t");
        int last = Integer.parseInt(cells[1], 16);
        for (int code = Integer.parseInt(cells[0], 16); code <= last; code++) {
          characters.put(code, replacement(code, cells[2]));
        }
      }
    }
    return characters;
  }

  private static String replacement(int code, String rule) {
    switch (rule) {
      case "delete":
        return "";
      case "space":
        return " ";
      case "alone":
        return " " + new String(Character.toChars(code)) + " ";
      case "hangul":
        return hangul(code - 0xAC00);
      default:
    }
    if (rule.charAt(0) == '+' || rule.charAt(0) == '-') {
      return new String(Character.toChars(code + Integer.parseInt(rule)));
    }
    StringBuilder text = new StringBuilder();
    for (String one : rule.split(" ")) {
      text.appendCodePoint(Integer.parseInt(one, 16));
    }
    return text.toString();
  }

  /** The letters of a Hangul syllable; The Unicode Standard, section 3.12. */
  private static String hangul(int syllable) {
    StringBuilder letters = new StringBuilder();
    letters.appendCodePoint(0x1100 + syllable / 588).appendCodePoint(0x1161 + syllable % 588 / 28);
    if (syllable % 28 != 0) {
      letters.appendCodePoint(0x11A7 + syllable % 28);
    }
    return letters.toString();
  }
}
