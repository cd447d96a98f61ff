package org.fusednorm.cuda;

import java.io.IOException;
import java.nio.file.Path;
import jcuda.JCudaVersion;
import jcuda.LibUtils;
import org.fusednorm.host.PrivateFiles;

/**
 * Initializes JCuda's binding classes with natives from a private directory.
 *
 * <p>Left to itself JCuda writes its libraries under a fixed name into {@code java.io.tmpdir}, and
 * loads whatever lies there: a file that another JVM is still writing, or another user's. It asks
 * for that property at that moment, so for the time of its initializer the property names a
 * directory where only this JVM's finished copy lies. Code that asks for the property in the same
 * milliseconds gets that directory too; the JDK itself keeps the value from its start.
 */
final class JCudaNatives {
  private static final String TMPDIR = "java.io.tmpdir";

  private JCudaNatives() {}

  /**
   * Runs the static initializer of a class of JCuda.
   *
   * @param className the class
   * @param library name of its library without version and platform
   * @throws IOException if the library cannot be written
   * @throws LinkageError if it does not load
   */
  static synchronized void initialize(String className, String library)
      throws CudaMissingException, IOException {
    ClassLoader loader = JCudaNatives.class.getClassLoader();
    String resource =
        "lib/"
            + LibUtils.createLibraryFileName(
                LibUtils.createPlatformLibraryName(library + "-" + JCudaVersion.get()));
    if (loader.getResource(resource) == null) {
      throw new CudaMissingException(
          resource + " is not on the class path",
          "CUDA needs Linux x86-64 and jcuda-natives with the classifier linux-x86_64");
    }
    Path directory = PrivateFiles.directory();
    try {
      PrivateFiles.extract(loader, resource, directory);
      String before = System.setProperty(TMPDIR, directory.toString());
      try {
        Class.forName(className, true, loader);
      } finally {
        System.setProperty(TMPDIR, before);
      }
    } catch (ClassNotFoundException e) {
      throw new CudaMissingException(
          className + " is not on the class path", "put jcuda on the class path", e);
    } finally {
      PrivateFiles.discard(directory);
    }
  }
}
