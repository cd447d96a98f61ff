package org.fusednorm.cli;

import java.io.IOException;
import java.io.InputStream;
import java.util.Properties;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.IVersionProvider;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ScopeType;
import picocli.CommandLine.Spec;

/** The program {@code fusednorm}: the top command, under which the others are registered. */
@Command(
    name = "fusednorm",
    description = "Fused batch normalization for Java, from the command line.",
    subcommands = {
      InfoCommand.class,
      TrainCommand.class,
      VerifyCommand.class,
      BenchCommand.class,
      PlanCommand.class,
      BundleCommand.class
    },
    synopsisSubcommandLabel = "COMMAND",
    scope = ScopeType.INHERIT,
    mixinStandardHelpOptions = true,
    versionProvider = Main.Version.class,
    usageHelpAutoWidth = true,
    sortOptions = false,
    exitCodeListHeading = "%nExit codes:%n",
    exitCodeList = {
      "0:done",
      "1:a check failed",
      "2:bad usage or input, or a file that cannot be read or written",
      "70:an error inside fusednorm or of the device"
    })
public final class Main implements Runnable {
  @Spec private CommandSpec spec;

  @Option(
      names = "--trace",
      scope = ScopeType.INHERIT,
      description = "Print the stack trace of an error as well (also -Dfusednorm.trace=true).")
  private boolean trace = Boolean.getBoolean("fusednorm.trace");

  private Main() {}

  /** Runs one command and ends the JVM with its exit code. */
  public static void main(String[] args) {
    // What the library logs (which backend was chosen, and why) is one line like all others.
    System.getProperties()
        .putIfAbsent("java.util.logging.SimpleFormatter.format", "fusednorm: %5$s%6$s%n");
    System.exit(run(commandLine(), args));
  }

  /** The command line with its rules for errors and exit codes. */
  static CommandLine commandLine() {
    Main main = new Main();
    return new CommandLine(main)
        .setParameterExceptionHandler((thrown, args) -> Errors.usage(thrown, main.trace))
        .setExecutionExceptionHandler(
            (thrown, command, parsed) -> Errors.thrown(thrown, command.getErr(), main.trace));
  }

  /** As {@link CommandLine#execute}, for errors of the JVM too, which picocli lets through. */
  static int run(CommandLine commandLine, String... args) {
    try {
      return commandLine.execute(args);
    } catch (Error e) {
      Main main = commandLine.getCommand();
      return Errors.thrown(e, commandLine.getErr(), main.trace);
    }
  }

  /** There is no command without a name. */
  @Override
  public void run() {
    throw new ParameterException(spec.commandLine(), "missing COMMAND");
  }

  /** The version that the build wrote. */
  static String version() throws IOException {
    Properties properties = new Properties();
    try (InputStream in = Main.class.getResourceAsStream("/org/fusednorm/version.properties")) {
      properties.load(in);
    }
    return properties.getProperty("version");
  }

  /** For {@code --version}. */
  static final class Version implements IVersionProvider {
    @Override
    public String[] getVersion() throws IOException {
      return new String[] {
        "fusednorm " + version(),
        "Java " + Runtime.version() + ", " + System.getProperty("java.vm.name")
      };
    }
  }
}
