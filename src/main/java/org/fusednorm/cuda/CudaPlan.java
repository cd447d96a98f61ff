package org.fusednorm.cuda;

import java.util.ArrayList;
import java.util.List;
import java.util.SortedMap;
import org.fusednorm.DType;
import org.fusednorm.Shape;
import org.fusednorm.cuda.NormPlan.Direction;
import org.fusednorm.cuda.NormPlan.Way;

/**
 * What {@link CudaNorm} launches for an operation, with a prediction of bytes and time: the same
 * {@link NormPlan} decides here and there. Needs no GPU.
 *
 * <p>The prediction is a model's, no measurement. Bytes are those of the device's memory. What one
 * launch reads again is in the L2 cache or not:
 *
 * <ul>
 *   <li>a kernel of a single pass reads everything once;
 *   <li>with tickets the second read hits where the data of two phases fits into the cache;
 *   <li>of what another launch read before, half a cache is still there, because elements are taken
 *       in reverse order;
 *   <li>partial sums and values per channel are in the cache and not counted.
 * </ul>
 *
 * The time of a launch is 3 microseconds for its start, ramp and tail, and then the larger of two:
 * bytes of memory over 0.9 of the memory's peak, which a copy reaches (4.3 of 4.8 TB/s on an H200),
 * and of that 0.94, with tickets or one stage of shared memory 0.86; and bytes through the
 * multiprocessors at work, 64 a nanosecond each.
 */
public final class CudaPlan {
  private static final double LAUNCH_SECONDS = 3e-6;
  private static final double COPY_OF_PEAK = 0.9;
  private static final double BYTES_PER_SECOND = 64e9;
  private static final double STREAMING = 0.94;
  private static final double TICKETED = 0.86;
  private static final double ONE_STAGE = 0.86;

  /** What can be planned, by the names of {@code fusednorm bench}. */
  public enum Operation {
    /** Training forward. */
    FORWARD("forward", Direction.FORWARD, false),
    /** Training forward with ReLU. */
    FORWARD_RELU("forward+relu", Direction.FORWARD, false),
    /** Training forward with a residual and ReLU, whose mask is kept. */
    FORWARD_ADD_RELU("forward+add+relu", Direction.FORWARD, true),
    /** Backward. */
    BACKWARD("backward", Direction.BACKWARD, false),
    /** Backward through ReLU. */
    BACKWARD_RELU("backward+relu", Direction.BACKWARD, false),
    /** Backward through ReLU by the mask that was kept, and the residual's gradient. */
    BACKWARD_ADD_RELU("backward+add+relu", Direction.BACKWARD, true),
    /** Inference by running statistics. */
    INFER("infer", Direction.FORWARD, false);

    private final String text;
    final Direction direction;
    final boolean gate;

    Operation(String text, Direction direction, boolean gate) {
      this.text = text;
      this.direction = direction;
      this.gate = gate;
    }

    /** Bytes that must be read before there are statistics. */
    private long statisticsBytes(Shape s, DType t) {
      return direction == Direction.FORWARD
          ? s.bytes(t)
          : 2 * s.bytes(t) + (gate ? gateBytes(s) : 0);
    }

    /**
     * The least that must be read and written: data two or three times, once more for a residual,
     * and a bit for each element of a mask.
     */
    public long minimalBytes(Shape s, DType t) {
      int tensors = (direction == Direction.FORWARD ? 2 : 3) + (gate ? 1 : 0);
      return tensors * s.bytes(t) + (gate ? gateBytes(s) : 0);
    }

    private static long gateBytes(Shape s) {
      return (s.elements() + Byte.SIZE - 1) / Byte.SIZE;
    }

    /** The name of {@code fusednorm bench}. */
    @Override
    public String toString() {
      return text;
    }
  }

  /**
   * A kernel's launch.
   *
   * @param kernel entry of the image
   * @param cluster blocks of a cluster
   * @param block threads of a block
   * @param blocks of the grid
   * @param registers of a thread as the compiler told; null where this build has no such kernel
   * @param sharedBytes shared memory of a block; null likewise
   * @param memoryBytes predicted bytes that the device's memory moves
   * @param seconds predicted time
   */
  public record Launch(
      String kernel,
      int cluster,
      int block,
      long blocks,
      Integer registers,
      Integer sharedBytes,
      long memoryBytes,
      double seconds) {}

  private final Operation operation;
  private final List<String> possible;
  private final Shape shape;
  private final DType type;
  private final GpuModel gpu;
  private final CudaImage image;
  private final List<Launch> launches = new ArrayList<>();

  private CudaPlan(
      Operation operation,
      Shape shape,
      DType type,
      GpuModel gpu,
      CudaImage image,
      NormPlan plan,
      String wanted) {
    this.operation = operation;
    this.shape = shape;
    this.type = type;
    this.gpu = gpu;
    this.image = image;
    if (operation == Operation.INFER) {
      possible = List.of();
      small("channel_coefficients", shape.channels());
      elements(plan, minimalBytes(), minimalBytes());
      return;
    }
    List<Way> ways = plan.ways.stream().filter(this::isBuilt).toList();
    possible = ways.stream().map(Way::name).toList();
    training(
        plan, ways.stream().filter(w -> w.name().equals(wanted)).findFirst().orElse(ways.get(0)));
  }

  /**
   * Plans one operation.
   *
   * @param s shape of the data, with at least one element
   * @param t type of the data, F32, F16, BF16 or F64
   * @param alignment of all addresses, a power of two from the type's bytes to 16
   * @param gpu where
   * @param image the kernels, or null where there are none: then nothing is told of registers
   * @param way which of {@link #possible()} is planned where it can be; null for the rule's choice
   */
  public static CudaPlan of(
      Operation o, Shape s, DType t, int alignment, GpuModel gpu, CudaImage image, String way) {
    NormPlan plan = NormPlan.of(o.direction, s, t, alignment, o.gate, gpu.architecture());
    return new CudaPlan(o, s, t, gpu, image, plan, way);
  }

  private boolean isBuilt(Way w) {
    SinglePass s = w.single();
    boolean fits =
        s == null || s.sharedBytes() <= gpu.sharedBytes() && s.team() <= gpu.multiprocessors();
    return fits && (s == null || image == null || told(s.entry, true) != null);
  }

  private void training(NormPlan plan, Way way) {
    long minimal = minimalBytes();
    int processors = gpu.multiprocessors();
    long again = operation.statisticsBytes(shape, type);
    SinglePass single = way.single();
    boolean forward = operation.direction == Direction.FORWARD;
    if (single != null && single.whole) {
      single(single, minimal);
      return;
    }
    if (way == Way.TICKETS) {
      long phaseBytes = again / plan.cut.groups() * plan.phase(processors);
      long missed = 2 * phaseBytes <= gpu.cacheBytes() ? 0 : again;
      long blocks = plan.ticketBlocks(processors);
      add(plan.sums, 1, NormPlan.THREADS, blocks, 0, minimal + missed, minimal + again, TICKETED);
      return;
    }
    if (single != null) {
      single(single, again);
    } else {
      add(plan.sums, 1, NormPlan.THREADS, plan.sumBlocks(), 0, again, again, STREAMING);
    }
    small(forward ? "channel_moments" : "channel_sums", 32 * shape.channels());
    elements(plan, minimal - Math.min(again, gpu.cacheBytes() / 2), minimal);
  }

  private void single(SinglePass s, long bytes) {
    long blocks = s.blocks(gpu.multiprocessors());
    double ofCopy = s.readsAhead() ? STREAMING : ONE_STAGE;
    int dynamic = s.sharedBytes();
    add(s.entry, s.kind.cluster(), s.kind.threads(), blocks, dynamic, bytes, bytes, ofCopy);
  }

  private void elements(NormPlan plan, long memoryBytes, long movedBytes) {
    long blocks = plan.elementBlocks(gpu.multiprocessors());
    add(plan.elements, 1, NormPlan.THREADS, blocks, 0, memoryBytes, movedBytes, STREAMING);
  }

  /** A launch that works on values per channel. */
  private void small(String kernel, long threads) {
    add(kernel, 1, NormPlan.THREADS, NormPlan.threadBlocks(threads), 0, 0, 0, STREAMING);
  }

  private void add(
      String kernel,
      int cluster,
      int block,
      long blocks,
      int dynamicBytes,
      long memoryBytes,
      long movedBytes,
      double ofCopy) {
    Integer declared = told(kernel, false);
    double memory = memoryBytes / (ofCopy * COPY_OF_PEAK * gpu.bytesPerSecond());
    // Clusters do not cross the borders of the GPU's parts, of which some are a little smaller.
    long processors = gpu.multiprocessors() / cluster * cluster;
    double through = movedBytes / (Math.min(blocks, processors) * BYTES_PER_SECOND);
    launches.add(
        new Launch(
            kernel,
            cluster,
            block,
            blocks,
            told(kernel, true),
            declared == null ? null : Integer.valueOf(declared + dynamicBytes),
            memoryBytes,
            LAUNCH_SECONDS + Math.max(memory, through)));
  }

  /** What the compiler told; a GPU between two architectures runs the older one's code. */
  private Integer told(String kernel, boolean registers) {
    if (image == null || !image.entries().contains(kernel)) {
      return null;
    }
    SortedMap<Integer, Integer> known =
        (registers ? image.registers(kernel) : image.sharedBytes(kernel))
            .headMap(gpu.architecture() + 1);
    return known.isEmpty() ? null : known.get(known.lastKey());
  }

  /** What is planned. */
  public Operation operation() {
    return operation;
  }

  /** The launches in their order. */
  public List<Launch> launches() {
    return List.copyOf(launches);
  }

  /**
   * Names of what the plan could do instead, best by the rules first: kinds of single-pass kernels,
   * "tickets", "parts". Empty for inference, which has one way.
   */
  public List<String> possible() {
    return possible;
  }

  /** The least bytes to read and write. */
  public long minimalBytes() {
    return operation.minimalBytes(shape, type);
  }

  /** Predicted bytes that the device's memory moves, of all launches. */
  public long memoryBytes() {
    return launches.stream().mapToLong(Launch::memoryBytes).sum();
  }

  /** Predicted time of all launches. */
  public double seconds() {
    return launches.stream().mapToDouble(Launch::seconds).sum();
  }
}
