package millrace;

import java.util.Collections;
import org.apache.beam.sdk.util.construction.resources.PipelineResourcesDetector;

/**
 * Tells Beam's job server to stage none of its own class path with a job: the cluster's processes have the same jars.
 * A job asks for it with the option pipeline_resources_detector_factory_class=millrace.NoStaging.
 */
public final class NoStaging implements PipelineResourcesDetector.Factory {
  /** Beam calls this by its name. */
  public static NoStaging create() {
    return new NoStaging();
  }

  @Override
  public PipelineResourcesDetector getPipelineResourcesDetector() {
    return loader -> Collections.emptyList();
  }
}
