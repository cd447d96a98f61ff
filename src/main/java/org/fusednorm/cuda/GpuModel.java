package org.fusednorm.cuda;

import java.util.List;
import java.util.stream.Collectors;

/**
 * What a prediction must know of a GPU: of one that is here, or of a product that stands for its
 * architecture where none is.
 *
 * @param name product
 * @param architecture compute capability without its point: 90 for 9.0
 * @param multiprocessors their number
 * @param sharedBytes the most shared memory that a block can have
 * @param cacheBytes size of the L2 cache
 * @param bytesPerSecond the most that the memory moves, reads and writes together
 * @param source where the last number is from
 */
public record GpuModel(
    String name,
    int architecture,
    int multiprocessors,
    int sharedBytes,
    long cacheBytes,
    double bytesPerSecond,
    String source) {
  private static final String DATA_SHEET = "NVIDIA's data sheet";

  /** One product for each architecture that the image has machine code for. */
  private static final List<GpuModel> PRODUCTS =
      List.of(
          product("Tesla T4", 75, 40, 64, 4, 320),
          product("A100 SXM 80 GB", 80, 108, 163, 40, 2039),
          product("A10", 86, 72, 99, 6, 600),
          product("L4", 89, 58, 99, 48, 300),
          product("H200 SXM", 90, 132, 227, 50, 4800),
          product("B200", 100, 148, 227, 126, 8000),
          product("GeForce RTX 5090", 120, 170, 99, 96, 1792));

  private static GpuModel product(
      String name, int architecture, int multiprocessors, int sharedKib, int cacheMib, int gbs) {
    return new GpuModel(
        name,
        architecture,
        multiprocessors,
        sharedKib << 10,
        (long) cacheMib << 20,
        1e9 * gbs,
        DATA_SHEET);
  }

  /**
   * The product that stands for an architecture.
   *
   * @throws IllegalArgumentException if none does; the message lists those that there are
   */
  public static GpuModel of(int architecture) {
    return PRODUCTS.stream()
        .filter(p -> p.architecture == architecture)
        .findFirst()
        .orElseThrow(
            () ->
                new IllegalArgumentException(
                    "no GPU of sm_"
                        + architecture
                        + " is known here, only "
                        + PRODUCTS.stream()
                            .map(p -> "sm_" + p.architecture)
                            .collect(Collectors.joining(", "))));
  }

  /** A GPU that is here. Where its driver does not tell a bandwidth, that of a like product. */
  public static GpuModel of(CudaDevice d) {
    double told = d.bytesPerSecond();
    GpuModel like =
        PRODUCTS.stream()
            .filter(p -> p.architecture <= d.architecture())
            .reduce((older, newer) -> newer)
            .orElseThrow();
    return new GpuModel(
        d.name(),
        d.architecture(),
        d.multiprocessors(),
        d.sharedBytes(),
        d.cacheBytes(),
        told > 0 ? told : like.bytesPerSecond,
        told > 0 ? "clock and width of its bus" : DATA_SHEET + " of the " + like.name);
  }

  /** The same with another bandwidth, in bytes per second. */
  public GpuModel withBandwidth(double given, String from) {
    return new GpuModel(name, architecture, multiprocessors, sharedBytes, cacheBytes, given, from);
  }
}
