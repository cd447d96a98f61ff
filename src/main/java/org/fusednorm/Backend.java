package org.fusednorm;

import java.lang.ref.Cleaner;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.StampedLock;

/**
 * A device, its memory and what it computes. Made by {@link Backends}; validation, lifetimes and
 * recording are the same for all, the arithmetic is the {@link Engine}'s.
 *
 * <p>Any thread may use a backend. Closing it frees everything that was made from it, as a net:
 * close what you open.
 */
public final class Backend implements Memory, AutoCloseable {
  private static final Cleaner CLEANER = Cleaner.create();

  private final Engine engine;
  private final Lifetime lifetime = new Lifetime(null);
  private final Set<Allocation> allocations = ConcurrentHashMap.newKeySet();
  private final AtomicLong bytesInUse = new AtomicLong();
  private final AtomicLong peakBytes = new AtomicLong();
  private final Norm norm = new Norm(this);
  private final MathOps math = new Maths(this);
  private final Set<Recording> recordings = ConcurrentHashMap.newKeySet();

  /**
   * Work reads, freeing writes: memory is freed only while no call is at work on this backend, so
   * neither a close by another thread nor the cleaner can take it away under a kernel.
   */
  private final StampedLock memoryInUse = new StampedLock();

  /** Set while this thread runs a function of {@link #host}. */
  private static final ThreadLocal<Boolean> IN_HOST = new ThreadLocal<>();

  /** The recording that is being made, by one thread. */
  private volatile Recording recorder;

  Backend(Engine engine) {
    this.engine = engine;
  }

  /** Where this backend computes. */
  public Device device() {
    return engine.device();
  }

  /** Versions, instruction set and threads, in one line for people. */
  public String description() {
    return engine.description();
  }

  /** Threads of the host that compute here, the caller's among them. */
  public int threads() {
    return engine.threads();
  }

  /** Batch normalization. */
  public NormOps norm() {
    return norm;
  }

  /** With what a layer knows and a caller of single verbs need not think of. */
  Norm layerNorm() {
    return norm;
  }

  /** The operations of a training step beside normalization. */
  public MathOps math() {
    return math;
  }

  /** Whether {@link #math()} takes tensors of type {@code t} here. */
  public boolean computes(DType t) {
    return engine.computes(t);
  }

  /** What is allocated now. */
  public MemoryReport memory() {
    return new MemoryReport(
        bytesInUse.get(),
        peakBytes.get(),
        allocations.size(),
        engine.heldBytes(),
        engine.cachedBytes());
  }

  @Override
  public Backend backend() {
    return this;
  }

  @Override
  public Tensor empty(Shape s, DType t) {
    Lifetime own = new Lifetime(lifetime);
    Allocation a = allocate(s.bytes(t), own.openedAt());
    Tensor tensor = new Tensor(this, a.storage(), 0, s, t, own, a, null);
    CLEANER.register(tensor, a);
    return tensor;
  }

  /**
   * Runs {@code step} once and keeps what it launched, to be run again by {@link Recording#replay}.
   * Inside, this thread may not copy between host and device; what shall change between replays
   * lives in tensors and {@link Scalar}s. Launches of other threads are not kept.
   *
   * @throws IllegalStateException when a recording is being made already
   */
  public Recording record(Runnable step) {
    check();
    Recording made = new Recording(this, Thread.currentThread());
    synchronized (this) {
      if (recorder != null) {
        throw new IllegalStateException(
            "thread " + recorder.thread().getName() + " is making a recording on " + device());
      }
      recorder = made;
    }
    boolean done = false;
    try {
      try {
        step.run();
      } finally {
        recorder = null;
      }
      made.capture();
      done = true;
    } finally {
      if (!done) {
        made.close();
      }
    }
    recordings.add(made);
    return made;
  }

  /**
   * Runs {@code r} on the host in the order of the queued work, also in each replay. It may not use
   * this or another backend: on a GPU it runs on a thread of the driver.
   */
  public void host(Runnable r) {
    check();
    Runnable guarded =
        () -> {
          IN_HOST.set(true);
          try {
            r.run();
          } finally {
            IN_HOST.remove();
          }
        };
    engine.host(guarded);
    if (isRecording()) {
      recorder.addHost(() -> engine.host(guarded));
    }
  }

  /** Waits until everything queued is done; failures of that work surface here. */
  public void synchronize() {
    check();
    noHostAccessWhileRecording("synchronize");
    engine.synchronize();
  }

  /**
   * Waits for work that is going on and frees everything that was made from this backend.
   *
   * @throws IllegalStateException inside a recording
   */
  @Override
  public void close() {
    notInHost();
    noHostAccessWhileRecording("close");
    RuntimeException failure = null;
    for (Recording r : new ArrayList<>(recordings)) {
      try {
        r.close();
      } catch (RuntimeException e) {
        failure = failure == null ? e : failure;
      }
    }
    if (lifetime.close(this)) {
      // An allocation that was going on may add itself yet.
      while (!allocations.isEmpty()) {
        allocations.forEach(Allocation::release);
        Thread.onSpinWait();
      }
      long stamp = memoryInUse.writeLock();
      try {
        engine.close();
      } catch (RuntimeException e) {
        failure = failure == null ? e : failure;
      } finally {
        memoryInUse.unlockWrite(stamp);
      }
    }
    if (failure != null) {
      throw failure;
    }
  }

  /** For example {@code cpu:0}. */
  @Override
  public String toString() {
    return "backend " + device();
  }

  // What the rest of the facade needs.

  Engine engine() {
    return engine;
  }

  Lifetime lifetime() {
    return lifetime;
  }

  void check() {
    lifetime.check(this);
  }

  long gateBytes(Shape s) {
    return engine.gateBytes(s);
  }

  Allocation allocate(long bytes, Throwable openedAt) {
    noHostAccessWhileRecording("allocation of bytes: ", bytes);
    long stamp = enter();
    try {
      check();
      Allocation a = new Allocation(this, engine.allocate(bytes), bytes, openedAt);
      allocations.add(a);
      long now = bytesInUse.addAndGet(bytes);
      peakBytes.accumulateAndGet(now, Math::max);
      return a;
    } finally {
      leave(stamp);
    }
  }

  void released(Allocation a) {
    long stamp = memoryInUse.writeLock();
    try {
      allocations.remove(a);
      bytesInUse.addAndGet(-a.bytes());
      engine.free(a.storage());
    } finally {
      memoryInUse.unlockWrite(stamp);
    }
  }

  /** Starts work on tensors: from here to {@link #leave} none is freed. Does not nest. */
  long enter() {
    notInHost();
    return memoryInUse.readLock();
  }

  void leave(long stamp) {
    memoryInUse.unlockRead(stamp);
  }

  /** Refuses what a function of {@link #host} may not do. */
  static void notInHost() {
    if (IN_HOST.get() != null) {
      throw new IllegalStateException("a host function may not use a backend");
    }
  }

  Tensor wrapBuffer(Shape s, DType t, ByteBuffer b) {
    check();
    if (!b.isDirect() || b.isReadOnly()) {
      throw new IllegalArgumentException("can wrap only writable direct buffers, not " + b);
    }
    if (b.order() != ByteOrder.nativeOrder() && t.bytes() > 1) {
      throw new IllegalArgumentException(
          "a buffer of " + b.order() + " order would be misread: order(ByteOrder.nativeOrder())");
    }
    if (b.alignmentOffset(b.position(), t.bytes()) != 0) {
      throw new IllegalArgumentException(
          "position " + b.position() + " of the buffer is not aligned to " + t);
    }
    long bytes = s.bytes(t);
    if (b.remaining() < bytes) {
      throw new IllegalArgumentException(
          s + " " + t + " takes " + bytes + " bytes, the buffer has " + b.remaining());
    }
    Storage storage = engine.wrap(b, b.position(), (int) bytes);
    return new Tensor(this, storage, 0, s, t, new Lifetime(lifetime), null, b);
  }

  Tensor wrapAddress(Shape s, DType t, long address, Object keepAlive) {
    check();
    if (address == 0 || address % t.bytes() != 0) {
      throw new IllegalArgumentException(
          String.format("address 0x%x is no place for %s: null or not aligned", address, t));
    }
    Storage storage = engine.wrap(address, s.bytes(t));
    return new Tensor(this, storage, 0, s, t, new Lifetime(lifetime), null, keepAlive);
  }

  boolean isRecording() {
    Recording r = recorder;
    return r != null && r.thread() == Thread.currentThread();
  }

  /** Adds a launch to the recording that this thread makes; its tensors cannot be closed then. */
  void keep(String name, Runnable launch, Tensor... uses) {
    recorder.add(name, launch, uses);
  }

  /** Notes in the recording that this thread makes that each replay is a forward into {@code p}. */
  void keepFills(Pass p) {
    recorder.fills(p);
  }

  void noHostAccessWhileRecording(String what) {
    noHostAccessWhileRecording(what, "");
  }

  /** The text is put together only when it is needed: a training step allocates nothing. */
  void noHostAccessWhileRecording(String what, Object of) {
    if (isRecording()) {
      throw new IllegalStateException(what + of + " inside a recording: do it before or after");
    }
  }

  void forget(Recording r) {
    recordings.remove(r);
  }
}
