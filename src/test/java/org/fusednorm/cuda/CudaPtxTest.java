package org.fusednorm.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.List;
import jcuda.nvptxcompiler.JNvPTXCompiler;
import jcuda.nvptxcompiler.nvPTXCompilerHandle;
import org.fusednorm.testing.ForkedJvm;
import org.fusednorm.testing.Required;
import org.junit.jupiter.api.Test;

/**
 * Drivers from r525 on can compile the kernels: the PTX compiler of CUDA 12.0, which comes with
 * JCuda, is the one that such a driver has inside.
 */
class CudaPtxTest {
  private static final String COMPILER = "/lib/libJNvPTXCompiler-12.6.0-linux-x86_64.so";

  @Test
  void compilerOfCuda12TakesThem() throws Exception {
    Required.assume("nvcc", CudaImage.load().isPresent(), "built without the CUDA compiler");
    boolean packed = CudaPtxTest.class.getResource(COMPILER) != null;
    Required.assume("PTX compiler", packed, COMPILER + " is not on the class path");
    ForkedJvm.Result result =
        ForkedJvm.run(
            List.of("-Djava.io.tmpdir=" + System.getProperty("java.io.tmpdir")), Compile.class);
    assertEquals("compiler 12.0\nsm_75 0 \nsm_90 0 \nversion 9.0 7\n", result.output());
  }

  /** In a JVM of its own: its library is large, and a bug in it would end the JVM. */
  static final class Compile {
    public static void main(String[] args) throws Exception {
      JCudaNatives.initialize("jcuda.nvptxcompiler.JNvPTXCompiler", "JNvPTXCompiler");
      int[] major = new int[1];
      int[] minor = new int[1];
      JNvPTXCompiler.nvPTXCompilerGetVersion(major, minor);
      System.out.println("compiler " + major[0] + "." + minor[0]);
      ByteBuffer bytes = CudaImage.load().orElseThrow().bytesFor(12000);
      byte[] ptx = new byte[bytes.capacity()];
      bytes.get(0, ptx);
      System.out.println("sm_75 " + compile(ptx, "sm_75"));
      System.out.println("sm_90 " + compile(ptx, "sm_90"));
      String text = new String(ptx, StandardCharsets.US_ASCII);
      byte[] newer = text.replace(".version 8.0", ".version 9.0").getBytes();
      System.out.println("version 9.0 " + compile(newer, "sm_75").split(" ")[0]);
    }

    private static String compile(byte[] ptx, String architecture) {
      nvPTXCompilerHandle handle = new nvPTXCompilerHandle();
      JNvPTXCompiler.nvPTXCompilerCreate(handle, ptx.length - 1, ptx);
      // As a driver compiles, but without optimizing: that takes ten times as long.
      String[] options = {"--gpu-name=" + architecture, "--opt-level=0"};
      int result = JNvPTXCompiler.nvPTXCompilerCompile(handle, options.length, options);
      long[] size = new long[1];
      JNvPTXCompiler.nvPTXCompilerGetErrorLogSize(handle, size);
      byte[] log = new byte[(int) size[0]];
      if (log.length > 0) {
        JNvPTXCompiler.nvPTXCompilerGetErrorLog(handle, log);
      }
      JNvPTXCompiler.nvPTXCompilerDestroy(handle);
      return result + " " + new String(log, StandardCharsets.US_ASCII).strip();
    }
  }
}
