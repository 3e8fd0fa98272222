// How an iOS app calls `dynamic.tflite`. Written by the export: names, types and shapes are those of this model.
// CocoaPods: pod "TensorFlowLiteSwift".
// Ids of texts: as `tokenizer.py` makes them of `vocab.json` and `characters.tsv`.
import Foundation
import TensorFlowLite

final class PhoneModel {
  private let interpreter: Interpreter
  private let device: SignatureRunner

  /// Of the output `digit`, in its order.
  static let `digit_classes`: [String] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]

  init() throws {
    guard let path = Bundle.main.path(forResource: "dynamic", ofType: "tflite") else {
      throw CocoaError(.fileNoSuchFile)
    }
    interpreter = try Interpreter(modelPath: path)
    device = try interpreter.signatureRunner(with: "device")
  }

  /// Runs the signature `device`, by names. A missing value is what the line says.
  ///
  /// - Parameters:
  ///   - scan: uint8 [1, 16, 16, 3]: RGB pixels, resized by the app; missing: all 0
  ///   - word: int32 [1, 12]: ids of `tokenizer.py` or `WordPiece.java` with `vocab.json`; missing: an empty text
  ///   - seconds: float32 [1]: a number, in the unit of the training rows; missing: NaN
  ///   - holes: float32 [1]: a number, in the unit of the training rows; missing: NaN
  ///   - key_row: int32 [1]: 0 is unknown, then from 1 on: ['top', 'upper', 'lower', 'bottom']; -1 is missing; missing: -1
  ///   - key_column: int32 [1]: 0 is unknown, then from 1 on: ['centre', 'right', 'left']; -1 is missing; missing: -1
  func predict(
    `scan`: [UInt8],
    `word`: [Int32],
    `seconds`: Float,
    `holes`: Float,
    `key_row`: Int32,
    `key_column`: Int32
  ) throws -> [String: [Float]] {
    try device.invoke(with: [
      "scan": bytes(`scan`),
      "word": bytes(`word`),
      "seconds": bytes([`seconds`]),
      "holes": bytes([`holes`]),
      "key_row": bytes([`key_row`]),
      "key_column": bytes([`key_column`]),
    ])
    var results: [String: [Float]] = [:]
    for name in ["digit", "magnitude"] {
      results[name] = try device.output(named: name).data.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    }
    return results
  }

  private func bytes<Number>(_ values: [Number]) -> Data {
    values.withUnsafeBufferPointer { Data(buffer: $0) }
  }
}
