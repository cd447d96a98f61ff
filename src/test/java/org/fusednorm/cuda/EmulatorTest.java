package org.fusednorm.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import jcuda.driver.CUcontext;
import jcuda.driver.CUdevice;
import jcuda.driver.CUevent;
import jcuda.driver.CUfunction;
import jcuda.driver.CUgraph;
import jcuda.driver.CUgraphExec;
import jcuda.driver.CUresult;
import jcuda.driver.CUstream;
import jcuda.driver.CUstream_flags;
import jcuda.driver.CUtexref;
import jcuda.driver.JCudaDriver;
import org.fusednorm.cuda.DriverSession.DevicePointer;
import org.fusednorm.cuda.Emulator.Build;
import org.fusednorm.cuda.Emulator.Count;
import org.fusednorm.host.PrivateFiles;
import org.fusednorm.testing.Make;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** The emulator itself: it finds planted faults, and its driver behaves like one. */
class EmulatorTest {
  @BeforeEach
  void onlyWithoutDevice() {
    assumeFalse(Emulator.onDevice(), "on the machine's own driver");
  }

  @Test
  void catchesEveryPlantedFault() throws Exception {
    Build.CHECKED.library();
    Make.run("cuda/emulator", "test");
  }

  @Test
  void answersEveryFunctionThatJcudaBinds() throws Exception {
    Path directory = PrivateFiles.directory();
    try {
      String resource = "lib/libJCudaDriver-12.6.0-linux-x86_64.so";
      PrivateFiles.extract(getClass().getClassLoader(), resource, directory);
      Path library = directory.resolve(resource.substring(4));
      assertEquals(
          Files.readAllLines(Path.of("cuda/emulator/driver_symbols.txt")),
          symbols("--undefined-only", library));
    } finally {
      PrivateFiles.discard(directory);
    }
    // And nothing else: a function under the name of a later header would never be called.
    assertEquals(
        Files.readAllLines(Path.of("cuda/emulator/driver_symbols.txt")),
        symbols("--defined-only", Build.PLAIN.library()));
  }

  private static List<String> symbols(String which, Path library) throws Exception {
    Process nm =
        new ProcessBuilder("nm", "-D", which, "--format=just-symbols", library.toString()).start();
    String output = new String(nm.getInputStream().readAllBytes());
    assertEquals(0, nm.waitFor());
    return output.lines().filter(s -> s.matches("cu[A-Z].*")).sorted().toList();
  }

  @Test
  void isNamedAsWhatItIs() throws Exception {
    String output = Emulator.run(Build.CHECKED, CudaDriverTest.Report.class);
    assertTrue(output.contains("available true"), output);
    assertTrue(output.contains("name=fusednorm emulator, no GPU, checked"), output);
  }

  @Test
  void failedKernelIsAnErrorWithItsText() throws Exception {
    String output = Emulator.run(Build.FAULTS, Fault.class);
    assertTrue(
        output.startsWith(
            "700 bad_behind_the_end: out of bounds: write of 4 bytes at offset 36864 of an"
                + " allocation of 36864 bytes [block (0,0,0) thread (0,0,0)]\n"
                + "then 700, still 700, anew 0\n"),
        output);
  }

  @Test
  void driverKeepsItsRules() throws Exception {
    String output = Emulator.run(Build.CHECKED, Rules.class);
    assertEquals(
        List.of(
            "late: before NaN, after 3.0",
            "capture: nothing runs, allocation 900, free 900, end 901",
            "graph: 3.0 3.0",
            "parameters of the capture: 3.0",
            "fork: unjoined 904, joined 3.0",
            "two streams: 3.0, took true",
            "attributes: 256 threads, registers as compiled true, 8 blocks",
            "host function: ran",
            "unsupported: 801",
            "out of memory: 2",
            "released: {}"),
        output.lines().filter(line -> !line.startsWith("emulator:")).toList());
  }

  @Test
  void everyCallCanFail() throws Exception {
    String output = Emulator.run(Build.CHECKED, Failures.class);
    assertTrue(output.matches("\\d\\d failures, then none\\n"), output);
  }

  /**
   * One element through normalize_scalar, by the struct ForwardArgs: y = (x - 1) * 2 + 1, for x =
   * 2.
   */
  private static final class OneElement {
    final DriverSession session;
    final DevicePointer y;
    final ByteBuffer struct = DriverSession.buffer(328);
    final CUfunction function;

    OneElement(DriverSession session) {
      this.session = session;
      function = session.function("normalize_scalar");
      y = session.allocate(4);
      struct.putLong(number(2)).putLong(0).putLong(y.address());
      // Center, scale and shift; outer, channels and inner.
      struct.putLong(96, number(1)).putLong(104, number(2)).putLong(112, number(1));
      struct.putLong(224, 1).putLong(232, 1).putLong(240, 1);
    }

    long number(float v) {
      return session.upload(DriverSession.buffer(4).putFloat(0, v)).address();
    }

    int launch(CUstream stream) {
      return DriverSession.launch(function, 1, 32, stream, struct);
    }

    float result() {
      return session.download(y, 4).getFloat(0);
    }

    void clear() {
      DriverSession.check("cuMemsetD32", JCudaDriver.cuMemsetD32(y, -1, 1));
      DriverSession.check("wait", JCudaDriver.cuCtxSynchronize());
    }
  }

  /** What lives in the driver, without what is none. */
  private static Map<Count, Long> live() {
    Map<Count, Long> live = new EnumMap<>(Count.class);
    for (Count c : List.of(Count.values()).subList(4, Count.values().length)) {
      if (Emulator.count(c) != 0) {
        live.put(c, Emulator.count(c));
      }
    }
    return live;
  }

  /** Runs a kernel that writes behind its memory. */
  static final class Fault {
    public static void main(String[] args) throws Exception {
      System.load(System.getProperty("fusednorm.cuda.libcuda"));
      JCudaNatives.initialize("jcuda.driver.JCudaDriver", "JCudaDriver");
      DriverSession.check("cuInit", JCudaDriver.cuInit(0));
      DriverSession session = new DriverSession();
      ByteBuffer struct = DriverSession.buffer(24);
      struct.putLong(session.allocate(36864).address());
      struct.putLong(session.allocate(4096).address()).putLong(40);
      CUfunction f = session.function("bad_behind_the_end");
      DriverSession.check("cuLaunchKernel", DriverSession.launch(f, 4, 64, null, struct));
      int result = JCudaDriver.cuCtxSynchronize();
      System.out.println(result + " " + DriverSession.text(result));
      int then = JCudaDriver.cuMemAlloc(new DevicePointer(), 4);
      int still = JCudaDriver.cuCtxSynchronize();
      CUdevice device = new CUdevice();
      DriverSession.check("cuDeviceGet", JCudaDriver.cuDeviceGet(device, 0));
      DriverSession.check("release", JCudaDriver.cuDevicePrimaryCtxRelease(device));
      DriverSession.check("pop", JCudaDriver.cuCtxPopCurrent(new CUcontext()));
      try (DriverSession again = new DriverSession()) {
        again.allocate(4);
        System.out.println("then " + then + ", still " + still + ", anew 0");
      }
    }
  }

  /** Streams, captures, graphs, host functions, errors. */
  static final class Rules {
    public static void main(String[] args) throws Exception {
      DriverSession.check("status", CudaDriver.status().available() ? 0 : 999);
      try (DriverSession session = new DriverSession()) {
        OneElement one = new OneElement(session);
        CUstream stream = new CUstream();
        int nonBlocking = CUstream_flags.CU_STREAM_NON_BLOCKING;
        DriverSession.check("stream", JCudaDriver.cuStreamCreate(stream, nonBlocking));
        late(one, stream);
        spoiledCapture(one, stream);
        graph(one, stream);
        CUstream other = new CUstream();
        DriverSession.check("stream", JCudaDriver.cuStreamCreate(other, nonBlocking));
        fork(one, stream, other);
        twoStreams(one, stream, other);
        attributes(one);
        DriverSession.check("destroy", JCudaDriver.cuStreamDestroy(other));
        List<String> ran = new ArrayList<>();
        DriverSession.check(
            "host", JCudaDriver.cuLaunchHostFunc(stream, data -> ran.add((String) data), "ran"));
        DriverSession.check("wait", JCudaDriver.cuStreamSynchronize(stream));
        System.out.println("host function: " + ran.get(0));
        System.out.println("unsupported: " + JCudaDriver.cuTexRefCreate(new CUtexref()));
        System.out.println(
            "out of memory: " + JCudaDriver.cuMemAlloc(new DevicePointer(), 1L << 40));
        DriverSession.check("destroy", JCudaDriver.cuStreamDestroy(stream));
      }
      System.out.println("released: " + live());
    }

    private static void late(OneElement one, CUstream stream) {
      one.clear();
      DriverSession.check("launch", one.launch(stream));
      float before = one.result();
      DriverSession.check("wait", JCudaDriver.cuStreamSynchronize(stream));
      System.out.println("late: before " + before + ", after " + one.result());
    }

    private static void spoiledCapture(OneElement one, CUstream stream) {
      long launches = Emulator.count(Count.LAUNCHES);
      DriverSession.check("begin", JCudaDriver.cuStreamBeginCapture(stream, 0));
      DriverSession.check("launch", one.launch(stream));
      int allocation = JCudaDriver.cuMemAlloc(new DevicePointer(), 4);
      int free = JCudaDriver.cuMemFree(one.y);
      int end = JCudaDriver.cuStreamEndCapture(stream, new CUgraph());
      String ran = Emulator.count(Count.LAUNCHES) == launches ? "nothing" : "something";
      System.out.printf(
          "capture: %s runs, allocation %d, free %d, end %d%n", ran, allocation, free, end);
    }

    private static void graph(OneElement one, CUstream stream) {
      CUgraph graph = new CUgraph();
      CUgraphExec executable = new CUgraphExec();
      DriverSession.check("begin", JCudaDriver.cuStreamBeginCapture(stream, 0));
      DriverSession.check("launch", one.launch(stream));
      DriverSession.check("end", JCudaDriver.cuStreamEndCapture(stream, graph));
      DriverSession.check("instantiate", JCudaDriver.cuGraphInstantiate(executable, graph, 0));
      float first = replay(one, executable, stream);
      System.out.println("graph: " + first + " " + replay(one, executable, stream));
      one.struct.putLong(16, 0); // its y; the graph has a copy
      System.out.println("parameters of the capture: " + replay(one, executable, stream));
      one.struct.putLong(16, one.y.address());
      DriverSession.check("destroy", JCudaDriver.cuGraphExecDestroy(executable));
      DriverSession.check("destroy", JCudaDriver.cuGraphDestroy(graph));
    }

    /** A second stream that takes part in a capture has to be waited for by the first. */
    private static void fork(OneElement one, CUstream stream, CUstream other) {
      int[] results = new int[2];
      CUgraph graph = new CUgraph();
      for (int joined = 0; joined < 2; joined++) {
        DriverSession.check("begin", JCudaDriver.cuStreamBeginCapture(stream, 0));
        CUevent forked = record(stream);
        DriverSession.check("fork", JCudaDriver.cuStreamWaitEvent(other, forked, 0));
        DriverSession.check("launch", one.launch(other));
        CUevent end = record(other);
        if (joined == 1) {
          DriverSession.check("join", JCudaDriver.cuStreamWaitEvent(stream, end, 0));
        }
        results[joined] = JCudaDriver.cuStreamEndCapture(stream, graph);
        DriverSession.check("event", JCudaDriver.cuEventDestroy(forked));
        DriverSession.check("event", JCudaDriver.cuEventDestroy(end));
      }
      DriverSession.check("end", results[1]);
      CUgraphExec executable = new CUgraphExec();
      DriverSession.check("instantiate", JCudaDriver.cuGraphInstantiate(executable, graph, 0));
      float y = replay(one, executable, stream);
      System.out.println("fork: unjoined " + results[0] + ", joined " + y);
      DriverSession.check("destroy", JCudaDriver.cuGraphExecDestroy(executable));
      DriverSession.check("destroy", JCudaDriver.cuGraphDestroy(graph));
    }

    /** Waiting for the second stream does the work of the first that an event stands before. */
    private static void twoStreams(OneElement one, CUstream stream, CUstream other) {
      one.clear();
      CUevent start = record(stream);
      DriverSession.check("launch", one.launch(stream));
      CUevent end = record(stream);
      DriverSession.check("wait", JCudaDriver.cuStreamWaitEvent(other, end, 0));
      DriverSession.check("wait", JCudaDriver.cuStreamSynchronize(other));
      float[] milliseconds = {-1};
      DriverSession.check("time", JCudaDriver.cuEventElapsedTime(milliseconds, start, end));
      System.out.println("two streams: " + one.result() + ", took " + (milliseconds[0] >= 0));
      DriverSession.check("event", JCudaDriver.cuEventDestroy(start));
      DriverSession.check("event", JCudaDriver.cuEventDestroy(end));
    }

    private static CUevent record(CUstream stream) {
      CUevent event = new CUevent();
      DriverSession.check("event", JCudaDriver.cuEventCreate(event, 0));
      DriverSession.check("record", JCudaDriver.cuEventRecord(event, stream));
      return event;
    }

    /** What the CUDA compiler said of the entry is what the driver says. */
    private static void attributes(OneElement one) throws Exception {
      int[] threads = new int[1];
      int[] registers = new int[1];
      int[] blocks = new int[1];
      CUfunction f = one.function;
      DriverSession.check("threads", JCudaDriver.cuFuncGetAttribute(threads, 0, f));
      DriverSession.check("registers", JCudaDriver.cuFuncGetAttribute(registers, 4, f));
      DriverSession.check(
          "blocks",
          JCudaDriver.cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, f, threads[0], 0));
      int compiled = CudaImage.load().orElseThrow().registers("normalize_scalar").get(90);
      System.out.println(
          "attributes: "
              + threads[0]
              + " threads, registers as compiled "
              + (registers[0] == compiled)
              + ", "
              + blocks[0]
              + " blocks");
    }

    private static float replay(OneElement one, CUgraphExec executable, CUstream stream) {
      one.clear();
      DriverSession.check("replay", JCudaDriver.cuGraphLaunch(executable, stream));
      DriverSession.check("wait", JCudaDriver.cuStreamSynchronize(stream));
      return one.result();
    }
  }

  /** Lets the first, the second, ... call of a session fail until it ends without a failure. */
  static final class Failures {
    public static void main(String[] args) throws Exception {
      DriverSession.check("status", CudaDriver.status().available() ? 0 : 999);
      int failures = 0;
      while (fails(failures + 1)) {
        failures++;
      }
      Emulator.failCall(0, 0);
      System.out.println(failures + " failures, then none");
    }

    private static boolean fails(int call) throws Exception {
      Emulator.failCall(call, CUresult.CUDA_ERROR_UNKNOWN);
      long before = Emulator.count(Count.CALLS);
      try (DriverSession session = new DriverSession()) {
        OneElement one = new OneElement(session);
        DriverSession.check("launch", one.launch(null));
        one.result();
      } catch (IllegalStateException e) {
        if (!e.getMessage().contains("CUDA_ERROR_UNKNOWN (999)")) {
          throw e;
        }
        return true;
      }
      if (Emulator.count(Count.CALLS) - before >= call) {
        throw new IllegalStateException("call " + call + " was made and did not fail");
      }
      return false;
    }
  }
}
