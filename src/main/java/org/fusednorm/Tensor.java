package org.fusednorm;

import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.DoubleBuffer;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.LongBuffer;
import java.nio.ShortBuffer;
import java.util.Objects;

/**
 * Elements of one type in a device's memory, contiguous and row-major.
 *
 * <p>A tensor is made by a {@link Memory}. It owns its memory, or it is a view of another ({@link
 * #as}, {@link #batch}), a temporary of a {@link Scope} or a wrap of foreign memory; closing one of
 * those ends it without freeing anything. A view dies with its owner. Use after close is an {@link
 * IllegalStateException}.
 *
 * <p>Copies to the host are the only calls that wait for the device.
 */
public final class Tensor implements AutoCloseable {
  private final Backend backend;
  private final Storage storage;
  private final long byteOffset;
  private final Shape shape;
  private final DType dtype;
  private final Lifetime lifetime;
  private final Allocation allocation;

  /** Reachable as long as this tensor is: the owner of a view or of foreign memory. */
  private final Object keepAlive;

  Tensor(
      Backend backend,
      Storage storage,
      long byteOffset,
      Shape shape,
      DType dtype,
      Lifetime lifetime,
      Allocation allocation,
      Object keepAlive) {
    this.backend = backend;
    this.storage = storage;
    this.byteOffset = byteOffset;
    this.shape = shape;
    this.dtype = dtype;
    this.lifetime = lifetime;
    this.allocation = allocation;
    this.keepAlive = keepAlive;
  }

  /** Extents in elements. */
  public Shape shape() {
    return shape;
  }

  /** Type of the elements. */
  public DType dtype() {
    return dtype;
  }

  /** Where the elements lie. */
  public Device device() {
    return backend.device();
  }

  /** The backend whose memory this is. */
  public Backend backend() {
    return backend;
  }

  /**
   * Address of the first element in the device's memory.
   *
   * @throws IllegalStateException when closed
   * @throws BackendException on a host without the native library, where memory has no address
   */
  public long address() {
    check();
    if (storage.address() == 0) {
      throw new BackendException(
          "memory of " + device() + " has no address here: the native library is missing");
    }
    return storage.address() + byteOffset;
  }

  /** Internal, for engines: the memory that the elements lie in. */
  public Storage storage() {
    return storage;
  }

  /** Internal, for engines: where in {@link #storage} the first element lies. */
  public long byteOffset() {
    return byteOffset;
  }

  /** Number of bytes of all elements. */
  public long bytes() {
    return shape.elements() * dtype.bytes();
  }

  /** Whether the tensor may still be used. */
  public boolean isOpen() {
    return lifetime.isOpen();
  }

  /**
   * A view of the same elements in another shape.
   *
   * @throws IllegalArgumentException when the number of elements differs
   */
  public Tensor as(Shape s) {
    check();
    if (s.elements() != shape.elements()) {
      throw new IllegalArgumentException(
          this + " cannot be seen as " + s + ": other element count");
    }
    return view(byteOffset, s);
  }

  /**
   * A view of the entries {@code from} (inclusive) to {@code to} (exclusive) of the first
   * dimension.
   */
  public Tensor batch(long from, long to) {
    check();
    if (from < 0 || to < from || to > shape.batch()) {
      throw new IllegalArgumentException("entries " + from + " to " + to + " of " + this);
    }
    Shape s = shape.withBatch(to - from);
    long row = shape.batch() == 0 ? 0 : shape.elements() / shape.batch();
    return view(byteOffset + from * row * dtype.bytes(), s);
  }

  private Tensor view(long offset, Shape s) {
    return new Tensor(backend, storage, offset, s, dtype, new Lifetime(lifetime), null, this);
  }

  /** Copies and rounds {@code v}, as many values as elements, into a tensor of any type. */
  public Tensor copyFrom(float... v) {
    Staging.write(this, v.length, v, null, null);
    return this;
  }

  /** Copies and rounds {@code v}, as many values as elements, into a tensor of any type. */
  public Tensor copyFrom(double... v) {
    Staging.write(this, v.length, null, v, null);
    return this;
  }

  /** Copies {@code v}, as many values as elements, into a tensor of any type. */
  public Tensor copyFrom(long... v) {
    Staging.write(this, v.length, null, null, v);
    return this;
  }

  /**
   * Copies the remaining elements of {@code b}, without moving its position. A ByteBuffer holds the
   * bytes of any type in native order; a FloatBuffer suits F32, ShortBuffer F16 and BF16,
   * DoubleBuffer F64, IntBuffer I32, LongBuffer I64.
   *
   * @throws IllegalArgumentException when type or size do not fit
   */
  public Tensor copyFrom(Buffer b) {
    startTransfer(b);
    if (b instanceof ByteBuffer bytes) {
      long stamp = backend.enter();
      try {
        check();
        backend.engine().upload(bytes, bytes.position(), storage, byteOffset, (int) bytes());
      } finally {
        backend.leave(stamp);
      }
    } else {
      Staging.upload(this, b);
    }
    return this;
  }

  /**
   * Copies all elements of {@code t}, of the same shape and type, from any backend. Within one
   * backend this does not wait and may be recorded.
   */
  public Tensor copyFrom(Tensor t) {
    check();
    t.check();
    if (!t.shape.equals(shape) || t.dtype != dtype) {
      throw new IllegalArgumentException("copy of " + t + " into " + this + ": must agree");
    }
    if (t.backend == backend) {
      if (overlaps(t) && !sameElements(t)) {
        throw new IllegalArgumentException("copy of " + t + " into " + this + ": partial overlap");
      }
      long stamp = backend.enter();
      try {
        check();
        t.check();
        copyWithin(t);
        if (backend.isRecording()) {
          backend.keep("copy", () -> copyWithin(t), this, t);
        }
      } finally {
        backend.leave(stamp);
      }
    } else {
      t.backend.noHostAccessWhileRecording("copy between backends");
      backend.noHostAccessWhileRecording("copy between backends");
      Staging.transfer(t, this);
    }
    return this;
  }

  private void copyWithin(Tensor t) {
    backend.engine().copy(t.storage, t.byteOffset, storage, byteOffset, bytes());
  }

  /** Sets every byte to zero. */
  public Tensor fillZero() {
    long stamp = backend.enter();
    try {
      check();
      zeroNow();
      if (backend.isRecording()) {
        backend.keep("zero", this::zeroNow, this);
      }
    } finally {
      backend.leave(stamp);
    }
    return this;
  }

  private void zeroNow() {
    backend.engine().zero(storage, byteOffset, bytes());
  }

  /** All elements as floats; waits for the device. */
  public float[] toFloats() {
    float[] v = new float[javaLength()];
    Staging.read(this, v, null, null);
    return v;
  }

  /** All elements as doubles; waits for the device. */
  public double[] toDoubles() {
    double[] v = new double[javaLength()];
    Staging.read(this, null, v, null);
    return v;
  }

  /**
   * All elements of an integer tensor; waits for the device.
   *
   * @throws IllegalArgumentException for a floating type
   */
  public long[] toLongs() {
    if (dtype.isFloating()) {
      throw new IllegalArgumentException(this + " holds no integers: use toFloats or toDoubles");
    }
    long[] v = new long[javaLength()];
    Staging.read(this, null, null, v);
    return v;
  }

  /**
   * Copies all elements into the remaining room of {@code b}, whose type must suit as in {@link
   * #copyFrom(Buffer)}, without moving its position; waits for the device.
   */
  public void copyTo(Buffer b) {
    startTransfer(b);
    if (b.isReadOnly()) {
      throw new IllegalArgumentException("cannot copy " + this + " into a read-only buffer");
    }
    if (b instanceof ByteBuffer bytes) {
      long stamp = backend.enter();
      try {
        check();
        backend.engine().download(storage, byteOffset, bytes, bytes.position(), (int) bytes());
      } finally {
        backend.leave(stamp);
      }
    } else {
      Staging.download(this, b);
    }
  }

  /** A copy in {@code owner}'s memory; this tensor is closed. Keeps a result beyond its scope. */
  public Tensor moveTo(Memory owner) {
    Tensor t = owner.empty(shape, dtype).copyFrom(this);
    close();
    return t;
  }

  /**
   * Ends this tensor and frees the memory that it owns, after the work that was queued on it. A
   * second close does nothing.
   *
   * @throws IllegalStateException while a {@link Recording} uses it
   */
  @Override
  public void close() {
    Backend.notInHost();
    if (lifetime.close(this) && allocation != null) {
      allocation.release();
    }
  }

  /** For example {@code [2, 3] F32 on cpu:0}. */
  @Override
  public String toString() {
    return shape + " " + dtype + " on " + device();
  }

  // What the facade needs.

  Lifetime lifetime() {
    return lifetime;
  }

  void check() {
    lifetime.check(this);
  }

  boolean sameElements(Tensor t) {
    return bytes() == t.bytes()
        && byteOffset + storage.address() == t.byteOffset + t.storage.address()
        && (storage == t.storage || storage.address() != 0);
  }

  boolean overlaps(Tensor t) {
    if (bytes() == 0 || t.bytes() == 0) {
      return false;
    }
    boolean addressed = storage.address() != 0 && t.storage.address() != 0;
    if (!addressed && storage != t.storage) {
      return false;
    }
    long a = addressed ? storage.address() + byteOffset : byteOffset;
    long b = addressed ? t.storage.address() + t.byteOffset : t.byteOffset;
    return a < b + t.bytes() && b < a + bytes();
  }

  /** Replaces element {@code i}. */
  void put(long i, double v) {
    Objects.checkIndex(i, shape.elements());
    check();
    backend.noHostAccessWhileRecording("write of ", this);
    Staging.put(this, i, v);
  }

  /** Reads element {@code i}. */
  double get(long i) {
    Objects.checkIndex(i, shape.elements());
    check();
    backend.noHostAccessWhileRecording("read of ", this);
    return Staging.get(this, i);
  }

  private int javaLength() {
    if (shape.elements() > Integer.MAX_VALUE - 8) {
      throw new IllegalArgumentException(
          this + " does not fit a Java array: copy batches of it, or use copyTo");
    }
    return (int) shape.elements();
  }

  private void startTransfer(Buffer b) {
    check();
    backend.noHostAccessWhileRecording("copy between the host and ", this);
    boolean suits =
        b instanceof ByteBuffer
            || switch (dtype) {
              case F32 -> b instanceof FloatBuffer;
              case F16, BF16 -> b instanceof ShortBuffer;
              case F64 -> b instanceof DoubleBuffer;
              case I32 -> b instanceof IntBuffer;
              case I64 -> b instanceof LongBuffer;
              case U8 -> false;
            };
    long wanted = b instanceof ByteBuffer ? bytes() : shape.elements();
    if (!suits || b.remaining() != wanted) {
      throw new IllegalArgumentException(
          b.getClass().getSimpleName() + " of " + b.remaining() + " does not fit " + this);
    }
  }
}
