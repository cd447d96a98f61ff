package org.fusednorm;

import java.nio.ByteBuffer;

/** A source of tensors on one device: a {@link Backend} or a {@link Scope} of it. */
public interface Memory {
  /** The backend whose memory this is. */
  Backend backend();

  /** A tensor of undefined content, 64-byte aligned. */
  Tensor empty(Shape s, DType t);

  /** A tensor of zeros. */
  default Tensor zeros(Shape s, DType t) {
    return empty(s, t).fillZero();
  }

  /** An F32 tensor that holds a copy of {@code v}, whose length is the shape's element count. */
  default Tensor of(Shape s, float... v) {
    return empty(s, DType.F32).copyFrom(v);
  }

  /** A number in this memory. */
  default Scalar scalar(double v) {
    Scalar s = new Scalar(empty(Shape.of(), DType.F64));
    s.set(v);
    return s;
  }

  /**
   * A tensor over a direct buffer from its position on; the buffer is kept alive and never freed.
   * Host backends only. Where the native library is missing, memory has no address, and two wraps
   * of one buffer are not seen to overlap.
   *
   * @throws IllegalArgumentException when the buffer is not direct, is read-only, too small, of
   *     another than native byte order, or not aligned to one element at its position
   */
  default Tensor wrap(Shape s, DType t, ByteBuffer direct) {
    return backend().wrapBuffer(s, t, direct);
  }

  /**
   * A tensor over foreign memory of this device, aligned to one element; never freed by us.
   *
   * @param keepAlive what must stay reachable as long as the tensor is; may be null
   */
  default Tensor wrap(Shape s, DType t, long address, Object keepAlive) {
    return backend().wrapAddress(s, t, address, keepAlive);
  }

  /** An arena for temporaries: one close, or one reset, ends all of its tensors. */
  default Scope scope() {
    return new Scope(backend());
  }
}
