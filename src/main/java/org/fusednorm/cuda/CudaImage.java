package org.fusednorm.cuda;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Optional;
import java.util.SortedMap;
import java.util.SortedSet;
import java.util.TreeMap;
import java.util.TreeSet;

/**
 * The compiled kernels in this jar: an image with machine code for several architectures and PTX,
 * and for drivers that do not know the image's compiler PTX of an older version.
 */
public final class CudaImage {
  /** Where the image lies on the class path. */
  public static final String RESOURCE = "org/fusednorm/cuda/fusednorm.fatbin";

  /** Beside it, what the compiler said of each entry: the image itself is compressed. */
  private static final String REGISTERS = "org/fusednorm/cuda/registers.txt";

  /** Drivers before this one refuse images and PTX of the CUDA 13.0 compiler. */
  private static final int DRIVER_FOR_IMAGE = 13000;

  /** PTX of version 8.0, which drivers know from CUDA 12.0 (r525) on. */
  private static final String PTX_RESOURCE = "org/fusednorm/cuda/fusednorm.ptx";

  private static final int MAGIC = 0xBA55ED50;
  private static final int PTX = 1;
  private static final int MACHINE_CODE = 2;

  private final ByteBuffer bytes;
  private final SortedSet<Integer> architectures = new TreeSet<>();
  private final SortedSet<Integer> ptx = new TreeSet<>();
  private final SortedMap<String, SortedMap<Integer, Integer>> registers = new TreeMap<>();
  private final SortedMap<String, SortedMap<Integer, Integer>> shared = new TreeMap<>();

  private CudaImage(byte[] image, String table) throws IOException {
    bytes = ByteBuffer.allocateDirect(image.length).order(ByteOrder.LITTLE_ENDIAN).put(0, image);
    try {
      readParts();
      table.lines().forEach(this::readRegisters);
    } catch (IndexOutOfBoundsException | IllegalArgumentException e) {
      throw new IOException(RESOURCE + " is damaged: " + e, e);
    }
  }

  /**
   * Reads the image.
   *
   * @return empty where the jar was built without the CUDA compiler
   * @throws IOException if it is damaged
   */
  public static Optional<CudaImage> load() throws IOException {
    byte[] image = read(RESOURCE);
    if (image == null) {
      return Optional.empty();
    }
    byte[] table = read(REGISTERS);
    if (table == null) {
      throw new IOException(REGISTERS + " is missing beside " + RESOURCE);
    }
    return Optional.of(new CudaImage(image, new String(table, StandardCharsets.US_ASCII)));
  }

  private static byte[] read(String resource) throws IOException {
    try (InputStream in = CudaImage.class.getClassLoader().getResourceAsStream(resource)) {
      return in == null ? null : in.readAllBytes();
    }
  }

  /**
   * A fat binary: magic, version and header size (16 bits each), size of what follows (64); then
   * parts, each with kind and version (16), header size (32), payload size (64), ... and at byte 28
   * the architecture (32).
   */
  private void readParts() {
    if (bytes.getInt(0) != MAGIC) {
      throw new IllegalArgumentException(
          "starts with 0x" + Integer.toHexString(bytes.getInt(0)) + ", no fat binary");
    }
    long at = bytes.getShort(6);
    long end = at + bytes.getLong(8);
    if (end != bytes.capacity()) {
      throw new IllegalArgumentException(bytes.capacity() + " bytes long, not " + end);
    }
    while (at < end) {
      int part = Math.toIntExact(at);
      int architecture = bytes.getInt(part + 28);
      switch (bytes.getShort(part)) {
        case PTX -> ptx.add(architecture);
        case MACHINE_CODE -> architectures.add(architecture);
        default ->
            throw new IllegalArgumentException("part of unknown kind " + bytes.getShort(part));
      }
      at += Integer.toUnsignedLong(bytes.getInt(part + 4)) + bytes.getLong(part + 8);
    }
  }

  /**
   * A line: entry, architecture as {@code sm_90}, registers of a thread, shared bytes of a block.
   */
  private void readRegisters(String line) {
    String[] fields = line.split(" ");
    if (fields.length != 4 || !fields[1].startsWith("sm_")) {
      throw new IllegalArgumentException("line '" + line + "' in " + REGISTERS);
    }
    Integer architecture = Integer.valueOf(fields[1].substring(3));
    put(registers, fields[0], architecture, fields[2]);
    put(shared, fields[0], architecture, fields[3]);
  }

  private static void put(
      SortedMap<String, SortedMap<Integer, Integer>> table, String entry, Integer of, String n) {
    table.computeIfAbsent(entry, name -> new TreeMap<>()).put(of, Integer.valueOf(n));
  }

  /** The image in a direct buffer, as the driver takes it; read-only. */
  public ByteBuffer bytes() {
    return bytes.asReadOnlyBuffer();
  }

  /** Whether a driver of this version (12080 for CUDA 12.8) must compile the kernels itself. */
  static boolean compiledByDriver(int driver) {
    return driver < DRIVER_FOR_IMAGE;
  }

  /**
   * What a driver of this version takes, in a direct buffer: the image, or text that ends in 0.
   *
   * @throws IOException if it is missing or cannot be read
   */
  ByteBuffer bytesFor(int driver) throws IOException {
    if (!compiledByDriver(driver)) {
      return bytes();
    }
    byte[] text = read(PTX_RESOURCE);
    if (text == null) {
      throw new IOException(PTX_RESOURCE + " is missing beside " + RESOURCE);
    }
    return ByteBuffer.allocateDirect(text.length + 1).put(0, text);
  }

  /** Name of what {@link #bytesFor} gives. */
  static String resourceFor(int driver) {
    return compiledByDriver(driver) ? PTX_RESOURCE : RESOURCE;
  }

  /** Architectures with machine code: 90 for compute capability 9.0. */
  public SortedSet<Integer> architectures() {
    return new TreeSet<>(architectures);
  }

  /** Architectures from which on the driver can compile the PTX itself. */
  public SortedSet<Integer> ptx() {
    return new TreeSet<>(ptx);
  }

  /** Names of the entries. */
  public SortedSet<String> entries() {
    return new TreeSet<>(registers.keySet());
  }

  /**
   * Registers of a thread of one entry, by architecture.
   *
   * @throws IllegalArgumentException if there is no such entry
   */
  public SortedMap<Integer, Integer> registers(String entry) {
    return of(entry, registers);
  }

  /**
   * Bytes of shared memory that a block of one entry has whatever the launch asks for, by
   * architecture.
   *
   * @throws IllegalArgumentException if there is no such entry
   */
  public SortedMap<Integer, Integer> sharedBytes(String entry) {
    return of(entry, shared);
  }

  private SortedMap<Integer, Integer> of(
      String entry, SortedMap<String, SortedMap<Integer, Integer>> table) {
    if (!table.containsKey(entry)) {
      throw new IllegalArgumentException("no entry " + entry + " among " + entries());
    }
    return new TreeMap<>(table.get(entry));
  }
}
