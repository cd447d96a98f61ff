package org.fusednorm.cuda;

import java.io.IOException;
import java.lang.System.Logger.Level;
import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.CUevent;
import jcuda.driver.JCudaDriver;
import org.fusednorm.BackendException;
import org.fusednorm.cuda.NormPlan.Way;
import org.fusednorm.cuda.TuningFile.Choice;
import org.fusednorm.cuda.TuningFile.Key;
import org.fusednorm.host.Settings;

/**
 * With {@code -Dfusednorm.autotune=true}: times what a plan could do on this GPU, once for a shape,
 * and remembers the fastest in a {@link TuningFile}. Only ways that the plan and its capacities
 * allow are tried, on copies of the caller's data, so that what is seen of a call is its own result
 * alone. All ways are within the documented accuracy; the kernels of a {@link SinglePass} sum in
 * another order than the others, so that a choice may change last bits, from then on always in the
 * same way.
 *
 * <p>Called within {@link CudaContext#enter} and {@link CudaContext#leave}, and never in a capture.
 */
final class Tuner {
  private static final String AUTOTUNE = "fusednorm.autotune";
  private static final System.Logger LOG = System.getLogger("org.fusednorm.cuda");

  /** Operands take turns until they are so many times larger than the L2. */
  private static final int CACHES = 4;

  private static final int MOST_SETS = 16;

  /** Part of the free memory that operands may take. */
  private static final int PART_OF_MEMORY = 4;

  private static final int ROUNDS = 7;

  /** Less gain than this is no reason to leave the rule's choice. */
  private static final double GAIN = 0.98;

  /** Queues the plan's way with these operands: inputs first, then outputs. */
  interface Trial {
    void run(long[] operands);
  }

  private final Launches launches;
  private final CudaMemory memory;
  private final CudaDevice gpu;
  private final String driver;
  private final String image;
  private final TuningFile file;
  private final Map<Key, Choice> known = new HashMap<>();
  private final CUdeviceptr to = new CUdeviceptr();
  private final CUdeviceptr from = new CUdeviceptr();

  private Tuner(
      Launches launches,
      CudaMemory memory,
      CudaDevice gpu,
      String driver,
      ByteBuffer image,
      TuningFile file) {
    this.launches = launches;
    this.memory = memory;
    this.gpu = gpu;
    this.driver = driver;
    this.image = hash(image);
    this.file = file;
    try {
      known.putAll(file.read());
    } catch (IOException e) {
      LOG.log(Level.WARNING, "autotune: {0}: it is ignored", e.getMessage());
    }
  }

  /** The tuner of an engine, or null where it is not switched on. */
  static Tuner open(
      Launches launches, CudaMemory memory, CudaDevice gpu, String driver, ByteBuffer image) {
    String given = Settings.get(AUTOTUNE);
    if (given == null || given.equals("false") || given.equals("off")) {
      return null;
    }
    if (!given.equals("true") && !given.equals("on")) {
      throw new IllegalArgumentException(
          "-D" + AUTOTUNE + "=" + given + " is neither true nor false");
    }
    return new Tuner(launches, memory, gpu, driver, image, TuningFile.ofUser());
  }

  private static String hash(ByteBuffer image) {
    try {
      MessageDigest digest = MessageDigest.getInstance("SHA-256");
      digest.update(image.duplicate().rewind());
      return HexFormat.of().formatHex(digest.digest());
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java has SHA-256", e);
    }
  }

  private Key key(NormPlan plan) {
    return Key.of(gpu.name(), driver, image, plan);
  }

  /** The way that was found before, if it is possible still; or null. */
  Way known(NormPlan plan, List<Way> possible) {
    Choice c = known.get(key(plan));
    return c == null
        ? null
        : possible.stream().filter(w -> w.name().equals(c.way())).findFirst().orElse(null);
  }

  /**
   * Times all ways; {@code plan.way} is each of them meanwhile.
   *
   * @param possible ways, the rule's choice first
   * @param inputs addresses of the data, as large as the plan's each
   * @param outputs how many tensors of that size are written
   * @return the fastest that the GPU did not refuse; the rule's choice if there is no memory
   */
  Way tune(NormPlan plan, List<Way> possible, long[] inputs, int outputs, Trial trial) {
    List<long[]> sets = new ArrayList<>();
    List<CudaStorage> taken = new ArrayList<>();
    Map<Way, Double> times;
    try {
      allocate(plan, inputs, outputs, sets, taken);
      times = time(plan, possible, sets, trial);
    } catch (OutOfRoom e) {
      LOG.log(Level.WARNING, "autotune: no memory to time {0}: {1}", key(plan), e.getMessage());
      return possible.get(0);
    } finally {
      taken.forEach(memory::free);
      memory.empty();
    }
    Way best = best(times);
    Map<String, Double> named = new LinkedHashMap<>();
    times.forEach((way, seconds) -> named.put(way.name(), 1e6 * seconds));
    remember(new Choice(key(plan), best.name(), named));
    return best;
  }

  private static Way best(Map<Way, Double> times) {
    Way rule = times.keySet().iterator().next();
    Way fastest = rule;
    for (Way w : times.keySet()) {
      fastest = times.get(w) < times.get(fastest) ? w : fastest;
    }
    return times.get(fastest) < GAIN * times.get(rule) ? fastest : rule;
  }

  private void remember(Choice found) {
    known.put(found.of(), found);
    try {
      file.add(List.of(found));
    } catch (IOException e) {
      LOG.log(Level.WARNING, "autotune: nothing is kept in {0}: {1}", file, e.toString());
    }
  }

  /** There is no memory for operands. */
  private static final class OutOfRoom extends Exception {
    private static final long serialVersionUID = 1;

    OutOfRoom(BackendException cause) {
      super(cause.getMessage(), cause);
    }
  }

  private void allocate(
      NormPlan plan, long[] inputs, int outputs, List<long[]> sets, List<CudaStorage> taken)
      throws OutOfRoom {
    long bytes = plan.values() * plan.channels * plan.type.bytes();
    int tensors = inputs.length + outputs;
    long[] left = new long[1];
    Cuda.check(JCudaDriver.cuMemGetInfo(left, new long[1]), "cuMemGetInfo");
    long wanted = CACHES * gpu.cacheBytes() / (tensors * bytes) + 1;
    long room = left[0] / PART_OF_MEMORY / (tensors * bytes);
    long count = Math.max(1, Math.min(MOST_SETS, Math.min(wanted, room)));
    for (int i = 0; i < count; i++) {
      long[] set = new long[tensors];
      for (int t = 0; t < tensors; t++) {
        set[t] = take(bytes, taken);
        if (t < inputs.length) {
          Handles.set(to, set[t]);
          Handles.set(from, inputs[t]);
          Cuda.check(
              JCudaDriver.cuMemcpyDtoDAsync(to, from, bytes, launches.stream()),
              "cuMemcpyDtoDAsync(" + bytes + " bytes)");
        }
      }
      sets.add(set);
    }
  }

  private long take(long bytes, List<CudaStorage> taken) throws OutOfRoom {
    try {
      CudaStorage s = memory.allocate(bytes);
      taken.add(s);
      return s.address();
    } catch (BackendException e) {
      throw new OutOfRoom(e);
    }
  }

  /** Seconds of each way that is not refused, medians of rounds in which all take turns. */
  private Map<Way, Double> time(NormPlan plan, List<Way> possible, List<long[]> sets, Trial trial) {
    Map<Way, double[]> rounds = new LinkedHashMap<>();
    Releases events = new Releases();
    try {
      CUevent start = event(events);
      CUevent end = event(events);
      for (Way w : possible) {
        if (run(plan, w, sets, trial)) { // warms up
          rounds.put(w, new double[ROUNDS]);
        }
      }
      for (int r = 0; r < ROUNDS; r++) {
        for (Way w : rounds.keySet()) {
          Cuda.check(JCudaDriver.cuEventRecord(start, launches.stream()), "cuEventRecord");
          run(plan, w, sets, trial);
          Cuda.check(JCudaDriver.cuEventRecord(end, launches.stream()), "cuEventRecord");
          launches.waited(JCudaDriver.cuEventSynchronize(end), "cuEventSynchronize");
          float[] ms = new float[1];
          Cuda.check(JCudaDriver.cuEventElapsedTime(ms, start, end), "cuEventElapsedTime");
          rounds.get(w)[r] = 1e-3 * ms[0] / sets.size();
        }
      }
    } finally {
      events.run();
    }
    Map<Way, Double> medians = new LinkedHashMap<>();
    rounds.forEach(
        (way, times) -> {
          Arrays.sort(times);
          medians.put(way, times[ROUNDS / 2]);
        });
    return medians;
  }

  private static CUevent event(Releases events) {
    CUevent made = new CUevent();
    Cuda.check(JCudaDriver.cuEventCreate(made, 0), "cuEventCreate");
    events.add("cuEventDestroy", () -> JCudaDriver.cuEventDestroy(made));
    return made;
  }

  /** Whether the GPU took it. */
  private static boolean run(NormPlan plan, Way way, List<long[]> sets, Trial trial) {
    for (long[] operands : sets) {
      plan.way = way;
      trial.run(operands);
      if (plan.way != way) {
        return false;
      }
    }
    return true;
  }
}
