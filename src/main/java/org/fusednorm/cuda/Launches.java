package org.fusednorm.cuda;

import static jcuda.driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR;
import static jcuda.driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR;
import static jcuda.driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
import static jcuda.driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.HashMap;
import java.util.Map;
import java.util.StringJoiner;
import jcuda.Pointer;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.CUfunction;
import jcuda.driver.CUmodule;
import jcuda.driver.CUresult;
import jcuda.driver.CUstream;
import jcuda.driver.JCudaDriver;
import org.fusednorm.BackendException;

/**
 * What the verbs need to launch kernels: the entries of the image, the device's properties, memory
 * for intermediate results and for complaints. Belongs to one engine and its stream; everything
 * here is called within {@link CudaContext#enter} and {@link CudaContext#leave}, as every verb of
 * {@link CudaNorm} and {@link CudaMath} is.
 */
final class Launches {
  /** Arguments of one launch at most: as many as a kernel's 4 KB of parameters hold. */
  static final int ARGUMENTS = 510;

  /** 64-bit words of {@link #complaint()}. */
  static final int COMPLAINT_WORDS = 4;

  /** 32-bit words of {@link #tickets()}. */
  static final int TICKETS = 8 << 10;

  /** Multiprocessors of the largest GPU that teams of blocks are for. */
  private static final int MOST_BLOCKS_OF_TEAMS = 1 << 10;

  /** What a block tells: two sums of each channel that it has at a time, for two times. */
  private static final int BYTES_TOLD = 2 * 2 * Double.BYTES * SinglePassColumns.MOST_CHANNELS;

  private static final int FIRST_ARGUMENT = 8;
  private static final int BEHIND_ARGUMENTS = FIRST_ARGUMENT + 8 * ARGUMENTS;
  private static final int COMPLAINT_BYTES = 8 * COMPLAINT_WORDS;
  private static final long WORKSPACE_GRAIN = 64 << 10;

  private final int architecture;
  private final int multiprocessors;
  private final int sharedMemory;
  private final boolean teams;
  private final CUmodule module = new CUmodule();

  /** Null for those that the image has not. */
  private final Map<String, Kernel> kernels = new HashMap<>();

  private final CudaMemory memory;

  /**
   * Pinned: the parameters of a launch as the driver wants them, an array with the address of the
   * one struct, and that struct behind it (the driver copies both, so one serves all launches); and
   * then what kernels complained of, as of the last wait.
   */
  private final Pointer block = new Pointer();

  private final ByteBuffer words;
  private int cursor = FIRST_ARGUMENT;
  private CUstream stream;
  private Workspace workspace;
  private boolean capturing;

  private final CUdeviceptr complaint = new CUdeviceptr();
  private final CUdeviceptr pointer = new CUdeviceptr();
  private final Pointer fetched = new Pointer();
  private boolean mayComplain;
  private boolean mayComplainOutside;

  // For the text of a failure that shows at a wait.
  private final Object[] recent = new Object[4];
  private long launched;

  Launches(
      CudaContext context,
      CudaMemory memory,
      ByteBuffer image,
      CUstream stream,
      Releases releases) {
    this.memory = memory;
    this.stream = stream;
    architecture =
        10 * context.attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
            + context.attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
    multiprocessors = context.attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    sharedMemory = context.attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
    load(image, releases);
    teams = Teams.take(context.ordinal());
    if (teams) {
      releases.add(() -> Teams.give(context.ordinal()));
    }

    int bytes = BEHIND_ARGUMENTS + COMPLAINT_BYTES;
    Cuda.check(JCudaDriver.cuMemAllocHost(block, bytes), "cuMemAllocHost(" + bytes + " bytes)");
    releases.add("cuMemFreeHost", () -> JCudaDriver.cuMemFreeHost(block));
    words = block.getByteBuffer(0, bytes).order(ByteOrder.nativeOrder());
    words.putLong(0, Handles.get(block) + FIRST_ARGUMENT);
    Handles.set(fetched, Handles.get(block) + BEHIND_ARGUMENTS);
    int told = BYTES_TOLD * Math.min(multiprocessors, MOST_BLOCKS_OF_TEAMS);
    CudaStorage place = memory.allocate(COMPLAINT_BYTES + Integer.BYTES * TICKETS + told);
    releases.add(() -> memory.free(place));
    Handles.set(complaint, place.address());
    forgiveComplaint();
    Cuda.check(
        JCudaDriver.cuMemsetD32Async(Handles.set(pointer, tickets()), 0, TICKETS, stream),
        "cuMemsetD32Async(" + TICKETS + " words)");
    workspace = workspaceOf(WORKSPACE_GRAIN);
    releases.add(() -> workspace.drop());
  }

  private void load(ByteBuffer image, Releases releases) {
    Cuda.check(
        JCudaDriver.cuModuleLoadDataEx(
            module, Pointer.toBuffer(image), 0, new int[0], new Pointer()),
        "cuModuleLoadDataEx(" + image.capacity() + " bytes)");
    releases.add("cuModuleUnload", () -> JCudaDriver.cuModuleUnload(module));
    CudaKernels.ENTRIES.forEach(this::find);
  }

  private Kernel find(String entry) {
    CUfunction f = new CUfunction();
    int result = JCudaDriver.cuModuleGetFunction(f, module, entry);
    if (result == CUresult.CUDA_ERROR_NOT_FOUND) {
      kernels.put(entry, null);
      return null;
    }
    Cuda.check(result, "cuModuleGetFunction(" + entry + ")");
    Kernel found = new Kernel(this, entry, f);
    kernels.put(entry, found);
    return found;
  }

  /** Compute capability without its point: 90 for 9.0. */
  int architecture() {
    return architecture;
  }

  /** Number of multiprocessors. */
  int multiprocessors() {
    return multiprocessors;
  }

  /** Most bytes of shared memory that a block can have, static and dynamic together. */
  int sharedMemory() {
    return sharedMemory;
  }

  /**
   * A kernel; null where the image has none for this device. Those of {@link CudaKernels#ENTRIES}
   * are there from the start, others are looked for at the first call, which is never in a capture:
   * what is captured was run before.
   */
  Kernel kernel(String entry) {
    Kernel known = kernels.get(entry);
    return known != null || kernels.containsKey(entry) ? known : find(entry);
  }

  /** The stream that launches go to now; another one while a recording is captured. */
  CUstream stream() {
    return stream;
  }

  /**
   * Device memory for intermediate results, aligned to 256 bytes. Zero when it is new; whoever
   * writes to it leaves zeros where others expect them. The same memory for every verb, so it holds
   * nothing beyond one of them; the address may change from verb to verb, and a verb asks once for
   * all it needs.
   */
  long workspace(long bytes) {
    if (bytes > workspace.bytes()) {
      if (capturing) {
        throw new IllegalStateException(
            "a verb asks for " + bytes + " bytes of workspace in a capture and did not before");
      }
      Workspace larger =
          workspaceOf((bytes + WORKSPACE_GRAIN - 1) / WORKSPACE_GRAIN * WORKSPACE_GRAIN);
      workspace.drop();
      workspace = larger;
    }
    return workspace.address();
  }

  private Workspace workspaceOf(long bytes) {
    Workspace made = new Workspace(memory, bytes);
    int result =
        JCudaDriver.cuMemsetD8Async(Handles.set(pointer, made.address()), (byte) 0, bytes, stream);
    if (result != CUresult.CUDA_SUCCESS) {
      made.drop();
      throw Cuda.failure(result, "cuMemsetD8Async(" + bytes + " bytes)");
    }
    return made;
  }

  /**
   * Device address of {@link #COMPLAINT_WORDS} 64-bit words, zero as long as all is well. A kernel
   * that finds a value in its data that cannot be (a label out of range) changes the first from 0
   * to a code by an atomic exchange, and if it was the one to do so, writes what it found to the
   * others. The next wait throws {@link CudaMath#complaint}.
   */
  long complaint() {
    mayComplain = true;
    return Handles.get(complaint);
  }

  /**
   * Device address of {@link #TICKETS} 32-bit words by which the blocks of a kernel find out which
   * of them is the last one: zero when a kernel starts, and zero when it has ended.
   */
  long tickets() {
    return Handles.get(complaint) + COMPLAINT_BYTES;
  }

  /** Device address of what the blocks of a launch of teams tell each other: see {@link Teams}. */
  long told() {
    return tickets() + Integer.BYTES * TICKETS;
  }

  /** Whether a launch may rely on so many blocks that share each channel. */
  boolean canHold(int team) {
    return team == 0 || teams && team <= multiprocessors && multiprocessors <= MOST_BLOCKS_OF_TEAMS;
  }

  // For Kernel.

  void argument(long v) {
    if (cursor == BEHIND_ARGUMENTS) {
      throw new IllegalStateException("a launch with more than " + ARGUMENTS + " arguments");
    }
    words.putLong(cursor, v);
    cursor += 8;
  }

  /** How many there are so far. */
  int arguments() {
    return (cursor - FIRST_ARGUMENT) / 8;
  }

  /** Ends the arguments. */
  Pointer parameters() {
    cursor = FIRST_ARGUMENT;
    return block;
  }

  /** Notes a launch, for the text of a failure that shows later. */
  void launched(Object kernel) {
    if (!capturing) {
      recent[(int) (launched++ % recent.length)] = kernel;
    }
  }

  // For the engine.

  /** Drops arguments that a verb left behind when it failed. */
  void reset() {
    cursor = FIRST_ARGUMENT;
  }

  /** Whether launches are captured now. */
  boolean capturing() {
    return capturing;
  }

  /** Launches go to {@code other} from now on, to be captured there. */
  Workspace startCapture(CUstream other) {
    capturing = true;
    stream = other;
    mayComplainOutside = mayComplain;
    mayComplain = false;
    return workspace;
  }

  /**
   * Launches go to the engine's stream again.
   *
   * @return whether one of the captured may complain
   */
  boolean endCapture(CUstream own) {
    capturing = false;
    stream = own;
    boolean captured = mayComplain;
    mayComplain = mayComplainOutside;
    return captured;
  }

  /** Says that work was queued that may complain. */
  void mayComplain(boolean may) {
    mayComplain |= may;
  }

  /** Queues the way of complaints to the host, where there may be some; a wait follows. */
  void fetchComplaint() {
    if (mayComplain) {
      Cuda.check(
          JCudaDriver.cuMemcpyDtoHAsync(fetched, complaint, COMPLAINT_BYTES, stream),
          "cuMemcpyDtoHAsync(" + COMPLAINT_BYTES + " bytes)");
      mayComplain = false;
    }
  }

  /** Whether kernels complained; after a wait, by any thread. */
  boolean hasComplaint() {
    return words.getLong(BEHIND_ARGUMENTS) != 0;
  }

  /** What kernels complained of. From then on all is well again. */
  long[] takeComplaint() {
    long[] taken = new long[COMPLAINT_WORDS];
    for (int i = 0; i < taken.length; i++) {
      taken[i] = words.getLong(BEHIND_ARGUMENTS + 8 * i);
    }
    forgiveComplaint();
    return taken;
  }

  private void forgiveComplaint() {
    for (int i = 0; i < COMPLAINT_WORDS; i++) {
      words.putLong(BEHIND_ARGUMENTS + 8 * i, 0);
    }
    Cuda.check(
        JCudaDriver.cuMemsetD8Async(complaint, (byte) 0, COMPLAINT_BYTES, stream),
        "cuMemsetD8Async(" + COMPLAINT_BYTES + " bytes)");
  }

  /**
   * Checks the result of a wait. A kernel that fails shows there, long after its launch; which one
   * it was the driver does not say.
   */
  void waited(int result, String call) {
    if (result != CUresult.CUDA_SUCCESS) {
      throw late(result, call);
    }
  }

  private BackendException late(int result, String call) {
    StringJoiner last = new StringJoiner(", ");
    for (long i = Math.max(0, launched - recent.length); i < launched; i++) {
      last.add(String.valueOf(recent[(int) (i % recent.length)]));
    }
    String text = Cuda.failure(result, call).getMessage();
    return new BackendException(launched == 0 ? text : text + "; the last launches were " + last);
  }
}
