package org.fusednorm.nn;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.WritableByteChannel;
import java.nio.file.Path;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import org.fusednorm.DType;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;

/**
 * Saves and restores tensors, for example {@link Layer#state} and {@link Sgd#state}, as a
 * {@linkplain Safetensors safetensors} file. Each tensor is kept in its own type, so that a
 * training that goes on from a file goes on with the same bits. Running statistics are therefore
 * F64; PyTorch's {@code load_state_dict} converts them.
 */
public final class Checkpoint {
  private static final int PIECE = 1 << 20;

  private Checkpoint() {}

  /**
   * Writes a file whole or not at all; waits for the device.
   *
   * @param file the target; its directory must exist
   * @param state tensors by name, of any backend
   * @param metadata free text by key
   * @throws IOException if the file system refuses
   */
  public static void write(Path file, Map<String, Tensor> state, Map<String, String> metadata)
      throws IOException {
    Map<String, Safetensors.Entry> entries = new LinkedHashMap<>();
    state.forEach(
        (name, t) -> {
          Safetensors.Info info = new Safetensors.Info(t.dtype(), t.shape().dims());
          entries.put(name, new Safetensors.Entry(info, out -> write(t, out)));
        });
    Safetensors.write(file, entries, metadata);
  }

  /**
   * Reads a file into tensors. All names, types and shapes are checked before the first tensor is
   * changed. F64 tensors also take F32 values (running statistics that PyTorch wrote).
   *
   * @param file what {@link #write} or another library made
   * @param into tensors by name: exactly those that the file has
   * @return the file's metadata
   * @throws CheckpointException naming what is missing, unexpected, or of another type or shape, or
   *     where the file is damaged
   * @throws IOException if the file system refuses
   */
  public static Map<String, String> read(Path file, Map<String, Tensor> into) throws IOException {
    try (SafetensorsReader reader = Safetensors.read(file)) {
      reader.requireNames(into.keySet());
      for (Map.Entry<String, Tensor> e : into.entrySet()) {
        Tensor t = e.getValue();
        Set<DType> allowed = EnumSet.of(t.dtype());
        if (t.dtype() == DType.F64) {
          allowed.add(DType.F32);
        }
        reader.require(e.getKey(), allowed, t.shape().dims());
      }
      for (Map.Entry<String, Tensor> e : into.entrySet()) {
        read(reader, e.getKey(), e.getValue());
      }
      return new LinkedHashMap<>(reader.metadata());
    }
  }

  private static void write(Tensor t, WritableByteChannel out) throws IOException {
    ByteBuffer bytes = piece();
    Tensor flat = t.as(Shape.of(t.shape().elements()));
    int most = PIECE / t.dtype().bytes();
    long elements = t.shape().elements();
    for (long from = 0; from < elements; from += most) {
      int n = (int) Math.min(most, elements - from);
      bytes.clear().limit(n * t.dtype().bytes());
      flat.batch(from, from + n).copyTo(bytes);
      out.write(bytes);
    }
  }

  private static void read(SafetensorsReader reader, String name, Tensor t) throws IOException {
    DType stored = reader.entry(name).dtype();
    ByteBuffer bytes = piece();
    Tensor flat = t.as(Shape.of(t.shape().elements()));
    int most = PIECE / stored.bytes();
    long elements = t.shape().elements();
    for (long from = 0; from < elements; from += most) {
      int n = (int) Math.min(most, elements - from);
      bytes.clear().limit(n * stored.bytes());
      reader.read(name, from * stored.bytes(), bytes);
      bytes.flip();
      Tensor part = flat.batch(from, from + n);
      if (stored == t.dtype()) {
        part.copyFrom(bytes);
      } else {
        float[] values = new float[n];
        bytes.asFloatBuffer().get(values);
        part.copyFrom(values);
      }
    }
  }

  private static ByteBuffer piece() {
    if (ByteOrder.nativeOrder() != ByteOrder.LITTLE_ENDIAN) {
      throw new UnsupportedOperationException("checkpoints need a little-endian machine");
    }
    return ByteBuffer.allocateDirect(PIECE).order(ByteOrder.LITTLE_ENDIAN);
  }
}
