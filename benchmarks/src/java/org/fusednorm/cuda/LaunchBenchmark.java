package org.fusednorm.cuda;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.concurrent.TimeUnit;
import jcuda.Pointer;
import jcuda.driver.CUfunction;
import jcuda.driver.CUmodule;
import jcuda.driver.CUstream;
import jcuda.driver.CUstream_flags;
import jcuda.driver.JCudaDriver;
import org.fusednorm.Backend;
import org.fusednorm.DType;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.TestBackends;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * What a launch costs the thread that makes it: a verb, from its call to its return, beside the
 * bare call of the driver through JCuda with the same kernel and parameters. The kernel has one
 * element at most to work on, and what is queued is waited for outside of the measurement.
 *
 * <p>On the emulator: {@code -jvmArgsAppend -Dfusednorm.cuda.libcuda=PATH}.
 */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 5, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(value = 3, jvmArgsAppend = "--enable-native-access=ALL-UNNAMED")
@State(Scope.Thread)
public class LaunchBenchmark {
  private static final int LAUNCHES = 500;
  private static final String ENTRY = "add_bias";
  private static final int FIELDS = 6;

  private final Releases releases = new Releases();
  private CudaContext context;
  private CUstream stream;
  private CUfunction function;
  private Pointer parameters;
  private Backend backend;
  private Tensor x;
  private Tensor bias;

  @Setup(Level.Trial)
  public void open() throws Exception {
    backend = TestBackends.over(new CudaProvider().open(0));
    x = backend.empty(Shape.of(1, 1), DType.F32).fillZero();
    bias = backend.empty(Shape.of(1), DType.F32).fillZero();
    context = new CudaContext(0);
    context.enter();
    stream = new CUstream();
    Cuda.check(JCudaDriver.cuStreamCreate(stream, CUstream_flags.CU_STREAM_NON_BLOCKING), "stream");
    releases.add("cuStreamDestroy", () -> JCudaDriver.cuStreamDestroy(stream));
    CUmodule module = new CUmodule();
    ByteBuffer image = CudaImage.load().orElseThrow().bytesFor(CudaDriver.status().driver());
    Cuda.check(
        JCudaDriver.cuModuleLoadDataEx(
            module, Pointer.toBuffer(image), 0, new int[0], new Pointer()),
        "module");
    releases.add("cuModuleUnload", () -> JCudaDriver.cuModuleUnload(module));
    function = new CUfunction();
    Cuda.check(JCudaDriver.cuModuleGetFunction(function, module, ENTRY), ENTRY);
    parameters = new Pointer();
    Cuda.check(JCudaDriver.cuMemAllocHost(parameters, 8 * (1 + FIELDS)), "memory");
    releases.add("cuMemFreeHost", () -> JCudaDriver.cuMemFreeHost(parameters));
    ByteBuffer words = parameters.getByteBuffer(0, 8 * (1 + FIELDS));
    words.order(ByteOrder.nativeOrder()).putLong(0, Handles.get(parameters) + 8);
    words.putLong(16, x.address()).putLong(24, bias.address()).putLong(32, x.address());
    words.putLong(40, 0).putLong(48, 1); // no elements, in one column
  }

  /** The driver's call alone. */
  @Benchmark
  @OperationsPerInvocation(LAUNCHES)
  public void bare() {
    for (int i = 0; i < LAUNCHES; i++) {
      int result =
          JCudaDriver.cuLaunchKernel(function, 1, 1, 1, 256, 1, 1, 0, stream, parameters, null);
      Cuda.check(result, ENTRY);
    }
  }

  /** Checked arguments, lock, context, parameters, and the driver's call. */
  @Benchmark
  @OperationsPerInvocation(LAUNCHES)
  public void verb() {
    for (int i = 0; i < LAUNCHES; i++) {
      backend.math().addBias(x, bias, x);
    }
  }

  @TearDown(Level.Invocation)
  public void await() {
    Cuda.check(JCudaDriver.cuStreamSynchronize(stream), "wait");
    backend.synchronize();
  }

  @TearDown(Level.Trial)
  public void close() {
    releases.run();
    context.leave();
    context.release();
    backend.close();
  }
}
