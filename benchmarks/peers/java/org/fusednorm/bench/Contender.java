package org.fusednorm.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.fusednorm.DType;

/**
 * Who computes a {@link NormCase}, and how it is started.
 *
 * @param name in tables and records
 * @param benchmark its JMH class
 * @param parameters of the benchmark, besides the case
 * @param process what it must run in
 */
record Contender(
    String name,
    Class<? extends NormBenchmark> benchmark,
    Map<String, String> parameters,
    Process process) {
  /** What a contender's process is like. */
  enum Process {
    COMMON,
    /** Without the native library. */
    JAVA,
    /** With the class path of ND4J. */
    ND4J
  }

  static final String OURS = "fusednorm";

  /** Ours on the same shape in F32, beside 16-bit data. */
  static final String OURS_F32 = "fusednorm F32";

  static final String JAVA = "plain Java";
  static final String LIMIT_STREAMING = "limit, streaming stores";
  static final String LIMIT_ORDINARY = "limit, ordinary stores";
  static final String ONEDNN = "oneDNN";
  static final String ONEDNN_APART = "oneDNN, ReLU apart";

  /**
   * Channels of a block in the layout that oneDNN itself prefers to NCHW: those that a vector
   * holds. For blocks of another size it has plain loops alone.
   */
  static final int ONEDNN_BLOCK = Machine.hasAvx512() ? 16 : 8;

  static final String ONEDNN_BLOCKED = "oneDNN nChw" + ONEDNN_BLOCK + "c";
  static final String PYTORCH = "PyTorch";
  static final String ND4J = "ND4J";

  /** From this traffic on ordinary stores are never the faster ones. */
  private static final long STREAMED = 64L << 20;

  static boolean isLimit(String name) {
    return name.equals(LIMIT_STREAMING) || name.equals(LIMIT_ORDINARY);
  }

  private static Contender oneDnn(String name, String order, String relu) {
    return new Contender(
        name, OneDnnNorm.class, Map.of("order", order, "relu", relu), Process.COMMON);
  }

  private static Contender of(String name, Class<? extends NormBenchmark> benchmark) {
    return new Contender(name, benchmark, Map.of(), Process.COMMON);
  }

  /**
   * All that compute a case.
   *
   * @param withJava whether the loops in Java are measured too
   * @param withNd4j whether ND4J is
   */
  static List<Contender> of(NormCase c, boolean withJava, boolean withNd4j) {
    List<Contender> all = new ArrayList<>();
    all.add(of(OURS, FusednormNorm.class));
    if (c.type() != DType.F32) {
      all.add(of(OURS_F32, FusednormNorm.class));
    }
    all.add(
        new Contender(
            LIMIT_STREAMING, LimitNorm.class, Map.of("stores", "streaming"), Process.COMMON));
    if (c.bytes() < STREAMED) {
      all.add(
          new Contender(
              LIMIT_ORDINARY, LimitNorm.class, Map.of("stores", "ordinary"), Process.COMMON));
    }
    // oneDNN has no normalization of 16 bits without AVX-512.
    if (c.type() == DType.F32 || Machine.hasAvx512()) {
      all.add(oneDnn(ONEDNN, "same", "fused"));
      if (c.layout().equals("NCHW") && c.channels() % ONEDNN_BLOCK == 0) {
        all.add(oneDnn(ONEDNN_BLOCKED, "blocked", "fused"));
      }
      boolean plainForward = c.layout().equals("NCHW") && !c.operation().isBackward();
      if (plainForward && c.operation().relu() && !c.operation().add()) {
        all.add(oneDnn(ONEDNN_APART, "same", "apart"));
      }
    }
    if (c.type() == DType.F32) {
      // DJL 0.35.1 has no way to PyTorch's bfloat16: its JNI ends the process at the first array.
      all.add(of(PYTORCH, PyTorchNorm.class));
    }
    if (withJava) {
      all.add(new Contender(JAVA, PlainJavaNorm.class, Map.of(), Process.JAVA));
    }
    if (withNd4j) {
      all.add(new Contender(ND4J, Nd4jNorm.class, Map.of(), Process.ND4J));
    }
    return all;
  }

  /** The case as this contender computes it. */
  NormCase taken(NormCase c) {
    return name.equals(OURS_F32)
        ? new NormCase(c.layout(), c.shape(), DType.F32, c.operation())
        : c;
  }

  /** Opens its work in this JVM. */
  NormWork open(NormCase c, NormData data) throws Exception {
    NormBenchmark b = benchmark.getDeclaredConstructor().newInstance();
    for (Map.Entry<String, String> e : parameters.entrySet()) {
      benchmark.getField(e.getKey()).set(b, e.getValue());
    }
    return b.open(taken(c), data);
  }
}
