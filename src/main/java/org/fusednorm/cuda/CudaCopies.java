package org.fusednorm.cuda;

import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.Deque;
import jcuda.Pointer;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.CUevent;
import jcuda.driver.CUevent_flags;
import jcuda.driver.CUresult;
import jcuda.driver.CUstream;
import jcuda.driver.JCudaDriver;

/**
 * Copies between the host and the device, in pieces through pinned memory: only from there and to
 * there a copy is asynchronous, and the arrays and buffers of Java move or die at their owner's
 * will.
 *
 * <p>Uploads go through a ring that is reused piece by piece as the device gets done with it, so
 * that they wait only when the device is a whole ring behind. Each download takes two pieces from a
 * pool, one to be filled while the other is emptied.
 */
final class CudaCopies {
  private static final int PIECE = 1 << 20;
  private static final int RING = 4 * PIECE;
  private static final int EVENTS = 64;

  private final CudaContext context;
  private final Launches launches;
  private final CUstream stream;
  private final Releases releases;
  private final CUdeviceptr device = new CUdeviceptr();
  private final Pointer host = new Pointer();

  private Pinned ring;
  private int head;

  // What is on its way, oldest first; a circle of places in the ring and of events behind them.
  private final int[] from = new int[EVENTS];
  private final int[] to = new int[EVENTS];
  private final CUevent[] done = new CUevent[EVENTS];
  private int oldest;
  private int pending;

  private final Deque<Pinned> pool = new ArrayDeque<>();

  /** Pinned memory. */
  private static final class Pinned {
    final Pointer pointer = new Pointer();
    final long address;
    final ByteBuffer bytes;
    CUevent filled;

    Pinned(int size, Releases releases) {
      Cuda.check(JCudaDriver.cuMemAllocHost(pointer, size), "cuMemAllocHost(" + size + " bytes)");
      releases.add("cuMemFreeHost", () -> JCudaDriver.cuMemFreeHost(pointer));
      address = Handles.get(pointer);
      bytes = pointer.getByteBuffer(0, size);
    }
  }

  CudaCopies(CudaContext context, Launches launches, CUstream stream, Releases releases) {
    this.context = context;
    this.launches = launches;
    this.stream = stream;
    this.releases = releases;
  }

  private CUevent event() {
    CUevent event = new CUevent();
    Cuda.check(
        JCudaDriver.cuEventCreate(event, CUevent_flags.CU_EVENT_DISABLE_TIMING), "cuEventCreate");
    releases.add("cuEventDestroy", () -> JCudaDriver.cuEventDestroy(event));
    return event;
  }

  /** Copies to the device; {@code source} may be reused when this returns. */
  void upload(ByteBuffer source, int at, long address, int bytes) {
    for (int i = 0; i < bytes; i += PIECE) {
      int n = Math.min(PIECE, bytes - i);
      context.enter();
      try {
        if (ring == null) {
          ring = new Pinned(RING, releases);
        }
        int place = reserve(n);
        ring.bytes.put(place, source, at + i, n);
        send(place, address + i, n);
      } finally {
        context.leave();
      }
    }
  }

  private void send(int place, long address, int n) {
    int slot = (oldest + pending) % EVENTS;
    if (done[slot] == null) {
      done[slot] = event();
    }
    int result =
        JCudaDriver.cuMemcpyHtoDAsync(
            Handles.set(device, address), Handles.set(host, ring.address + place), n, stream);
    if (result != CUresult.CUDA_SUCCESS) {
      throw Cuda.failure(result, "cuMemcpyHtoDAsync(" + n + " bytes)");
    }
    result = JCudaDriver.cuEventRecord(done[slot], stream);
    if (result != CUresult.CUDA_SUCCESS) {
      // Nothing would tell when the place may be written again.
      JCudaDriver.cuStreamSynchronize(stream);
      throw Cuda.failure(result, "cuEventRecord");
    }
    from[slot] = place;
    to[slot] = place + n;
    pending++;
    head = place + n;
  }

  /** A place in the ring where nothing is on its way any more. */
  private int reserve(int n) {
    int place = head + n <= RING ? head : 0;
    while (pending == EVENTS || overlaps(place, place + n)) {
      launches.waited(JCudaDriver.cuEventSynchronize(done[oldest]), "cuEventSynchronize");
      oldest = (oldest + 1) % EVENTS;
      pending--;
    }
    return place;
  }

  private boolean overlaps(int start, int end) {
    for (int i = 0; i < pending; i++) {
      int slot = (oldest + i) % EVENTS;
      if (from[slot] < end && start < to[slot]) {
        return true;
      }
    }
    return false;
  }

  /** Copies to the host after the work queued so far, and waits; others may queue meanwhile. */
  void download(long address, ByteBuffer target, int at, int bytes) {
    Pinned filling = null;
    Pinned next = null;
    try {
      filling = fetch(address, Math.min(PIECE, bytes));
      for (int i = 0; i < bytes; i += PIECE) {
        int behind = i + PIECE;
        if (behind < bytes) {
          next = fetch(address + behind, Math.min(PIECE, bytes - behind));
        }
        await(filling);
        target.put(at + i, filling.bytes, 0, Math.min(PIECE, bytes - i));
        giveBack(filling);
        filling = next;
        next = null;
      }
    } finally {
      // A copy that is on its way into one of them comes before those of whoever takes it next.
      giveBack(filling);
      giveBack(next);
    }
  }

  private Pinned fetch(long address, int n) {
    context.enter();
    try {
      Pinned p = pool.poll();
      if (p == null) {
        p = new Pinned(PIECE, releases);
      }
      boolean queued = false;
      try {
        if (p.filled == null) {
          p.filled = event();
        }
        int result =
            JCudaDriver.cuMemcpyDtoHAsync(p.pointer, Handles.set(device, address), n, stream);
        if (result != CUresult.CUDA_SUCCESS) {
          throw Cuda.failure(result, "cuMemcpyDtoHAsync(" + n + " bytes)");
        }
        launches.fetchComplaint();
        Cuda.check(JCudaDriver.cuEventRecord(p.filled, stream), "cuEventRecord");
        queued = true;
      } finally {
        if (!queued) {
          pool.push(p);
        }
      }
      return p;
    } finally {
      context.leave();
    }
  }

  private void await(Pinned p) {
    context.bind();
    try {
      launches.waited(JCudaDriver.cuEventSynchronize(p.filled), "cuEventSynchronize");
    } finally {
      context.unbind();
    }
  }

  private void giveBack(Pinned p) {
    if (p != null) {
      context.lock();
      pool.push(p);
      context.unlock();
    }
  }
}
